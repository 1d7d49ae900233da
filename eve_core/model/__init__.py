"""The network: EVE as a Hugging Face native model. No input or output but `from_pretrained`, `save_pretrained` and
official checkpoints (`official/`).

Shapes in this room: B pairs, N = V + L tokens of a sequence (V vision tokens, the class token first; L text tokens),
P patches, D hidden width, F feed-forward width, E experts, K experts a token, T tokens that are routed.
"""

from transformers import AutoConfig, AutoModel

from eve_core.model.configuration import EveConfig
from eve_core.model.heads import (
    EveForImageTextRetrieval,
    EveForVisualQuestionAnswering,
    EveForVisualReasoning,
)
from eve_core.model.modeling import EveModel, EvePreTrainedModel
from eve_core.model.outputs import (
    EveForPreTrainingOutput,
    EveModelOutput,
    EveRetrievalOutput,
    ImageTextClassifierOutput,
    Routing,
)
from eve_core.model.pretraining import EveForPreTraining

AutoConfig.register(EveConfig.model_type, EveConfig)
AutoModel.register(EveConfig, EveModel)

__all__ = [
    "EveConfig",
    "EveForImageTextRetrieval",
    "EveForPreTraining",
    "EveForPreTrainingOutput",
    "EveForVisualQuestionAnswering",
    "EveForVisualReasoning",
    "EveModel",
    "EveModelOutput",
    "EvePreTrainedModel",
    "EveRetrievalOutput",
    "ImageTextClassifierOutput",
    "Routing",
]
