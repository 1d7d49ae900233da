"""The tables that are validated: one for each kind and set, with columns that relate a row to the stored pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eve_core.data.prepared import PreparedData

if TYPE_CHECKING:
    import pandas as pd

TRAINING_SPLIT = "train"


@dataclass(frozen=True)
class CheckedTable:
    """One table: its kind, the set (for pictures, the namespace) that it belongs to, and its rows."""

    kind: str
    set: str
    rows: "pd.DataFrame"

    @property
    def name(self) -> str:
        """How messages call it: "captions of flickr8k"."""
        return f"{self.kind} of {self.set}"


def checked_tables(data: PreparedData, kinds: list[str]) -> Iterator[CheckedTable]:
    """The tables of `kinds` that `data` holds, in the order of `kinds`, then by set.

    Annotations gain the columns <picture>_known, picture_trained_on and copy_trained_on, see `_relate_to_pictures`.
    """
    pictures = data.image_info().to_pandas()
    present = sorted({(shard.table, shard.set) for shard in data.manifest.shards})
    for kind in kinds:
        for set_name in [found for table, found in present if table == kind]:
            if kind == "images":
                yield CheckedTable(kind, set_name, data.table(kind, set=set_name).to_pandas())
            else:
                yield CheckedTable(kind, set_name, _annotations(data, kind, set_name, pictures))


def _annotations(data: PreparedData, kind: str, set_name: str, pictures: "pd.DataFrame") -> "pd.DataFrame":
    import pyarrow.compute as pc

    table = data.table(kind, set=set_name)
    if "answers" in table.column_names:
        # Great Expectations compares scalars, and the number of answers is what is checked.
        table = table.append_column("answer_count", pc.list_value_length(table["answers"])).drop_columns(["answers"])
    rows = table.to_pandas()
    _relate_to_pictures(rows, pictures)
    return rows


def _relate_to_pictures(rows: "pd.DataFrame", pictures: "pd.DataFrame") -> None:
    """Add what a row's own values do not say.

    image_known (left_image_known, right_image_known): its picture is stored.
    picture_trained_on: the row is one of an evaluation split, and a training row of the set has the same picture.
    copy_trained_on: likewise, but the training row's picture has another id and the same bytes.
    """
    import pandas as pd

    columns = [column for column in rows.columns if column.endswith("image_id")]
    sha256 = pictures.drop_duplicates("image_id").set_index("image_id")["sha256"]
    evaluated = rows["split"] != TRAINING_SPLIT
    training_ids = pd.concat([rows.loc[~evaluated, column] for column in columns]).dropna().unique()
    training_bytes = sha256.reindex(training_ids).dropna().unique()
    same_picture = same_bytes = pd.Series(False, index=rows.index)
    for column in columns:
        rows[column.removesuffix("_id") + "_known"] = rows[column].isin(sha256.index)
        same_picture = same_picture | rows[column].isin(training_ids)
        same_bytes = same_bytes | rows[column].map(sha256).isin(training_bytes)
    rows["picture_trained_on"] = evaluated & same_picture
    rows["copy_trained_on"] = evaluated & same_bytes & ~same_picture
