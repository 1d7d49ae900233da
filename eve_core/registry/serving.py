"""The served model: MLflow copies this file beside the checkpoint and runs it to load the model (no pickle).

Nothing in the project imports it; `models.register` names it.
"""

from typing import Any

import mlflow.models
import mlflow.pyfunc
import pandas as pd


class EveServing(mlflow.pyfunc.PythonModel):
    """A fine-tuned EVE behind MLflow's `predict`; the columns are those of `eve_core.registry.signatures`."""

    def load_context(self, context: Any) -> None:
        """Load the checkpoint once, when the model is loaded."""
        from eve_core.tasks import load_predictor

        self._predictor = load_predictor(context.artifacts["checkpoint"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answer every row."""
        rows: list[dict[Any, Any]] = model_input.to_dict("records")
        return pd.DataFrame(self._predictor.predict(rows))


mlflow.models.set_model(EveServing())
