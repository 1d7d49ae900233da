"""The model card of a registered version: what it is, what it was trained on, how good it is, what it is not for."""

from eve_core.evaluation.blessing import Blessing, Interval

_PURPOSE = {
    "vqa": "answers a question about a picture, with one of the answers that it was trained on",
    "nlvr2": "says whether a statement is true of two pictures",
    "retrieval": "says how well a text fits a picture, to find one by the other",
}
_LIMITS = {
    "vqa": "It knows no answer outside of its vocabulary, and gives one to every question, sensible or not.",
    "nlvr2": "It judges statements like those of NLVR2: one sentence about two photographs.",
    "retrieval": "Its probabilities rank answers to one query; they do not compare different queries.",
}
_LICENCES = {
    "coco_captions": "annotations CC BY 4.0; photographs under the terms of Flickr and their owners",
    "visual_genome": "CC BY 4.0; photographs as of COCO and YFCC100M",
    "visual_genome_qa": "CC BY 4.0; photographs as of COCO and YFCC100M",
    "vqa_v2": "annotations CC BY 4.0; photographs of COCO",
    "nlvr2": "annotations CC BY 4.0; photographs belong to their owners on the web",
    "flickr8k": "for non-commercial research and education; photographs belong to their owners on Flickr",
    "flickr30k": "for non-commercial research and education; photographs belong to their owners on Flickr",
    "sbu": "captions and photographs belong to their owners on Flickr",
    "cc3m": "captions free to use with credit to Google; pictures belong to their owners on the web",
    "cc12m": "captions free to use with credit to Google; pictures belong to their owners on the web",
}


def model_card(blessing: Blessing) -> str:
    """Markdown, from what the gate saw.

    Args:
        blessing: of the version.
    """
    sets = sorted({name.split()[0] for name in (*blessing.trained_on, *blessing.scored_on)})
    rows = [f"| {name} | {_number(value)} |" for name, value in blessing.metrics.items()]
    parts = [f"| {part.name} | {part.items:,} | {_interval(part.candidate)} |" for part in blessing.parts]
    served = [f"- {name}: {_number(value)}" for name, value in blessing.served.items()]
    lines = [
        f"# EVE for {blessing.task}",
        f"A vision-language model (EVE, AAAI 2024) that {_PURPOSE[blessing.task]}.",
        "## Trained on",
        *(f"- {name}" for name in dict.fromkeys(blessing.trained_on)),
        f"\nData revision `{blessing.data_revision}`, digest `{blessing.data_digest}`"
        f"; code `{blessing.code_revision}`.",
        f"## Scores on {', '.join(blessing.scored_on)}, {blessing.items:,} items",
        "| metric | value |\n|---|---|",
        *rows,
        f"\n{blessing.main_metric} with its 95 % interval, whole and by slice:\n",
        "| items | number | value |\n|---|---|---|",
        *parts,
        "## As it is served",
        *served,
        "## Limits",
        _LIMITS[blessing.task],
        "What it was trained on says what people of few countries photographed and wrote in English; it repeats their "
        "errors and prejudices. Its scores are those of this test, and of nothing else.",
        "## Licences of the sets, as they are published",
        *(f"- {name}: {_LICENCES.get(name, 'not known here')}" for name in sets),
        "\nNone of them applies where the data set is the synthetic world, which only has their formats.",
    ]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4g}"


def _interval(values: Interval) -> str:
    value, low, high = values
    return f"{value:.4g} ({low:.4g} to {high:.4g})"
