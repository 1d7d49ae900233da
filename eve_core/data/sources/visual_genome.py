"""Visual Genome: the phrases that describe regions of a picture, and the questions with one answer each."""

from collections.abc import Iterable, Iterator

from eve_core.config import VisualGenomeQaSource, VisualGenomeSource
from eve_core.data.sources.annotation import Annotation, PictureFile, Rejected, pictures_folder, unused
from eve_core.data.sources.bad_record import last_part
from eve_core.data.sources.json_files import Record, each, read_json_list

_FOLDERS = ("VG_100K", "VG_100K_2", "")
_SPLIT = "train"  # the set has no other


def read_regions(source: VisualGenomeSource) -> Iterator[Annotation | Rejected]:
    """Every region's phrase as a caption of its picture, in the file's order.

    Raises:
        UserError: a file is missing, broken or of another form.
    """
    pictures: dict[int, PictureFile] = {}
    used: set[int] = set()
    taken: set[int] = set()

    def read_region(region: Record) -> Iterable[Annotation]:
        picture = _picture_of(region, pictures, used)
        row = {
            "caption_id": str(region.claim(region.number("region_id"), taken)),
            "image_id": picture.image_id,
            "caption": region.text("phrase"),
            "split": _SPLIT,
        }
        yield Annotation(row, (picture,))

    def read_image(image: Record) -> Iterable[Annotation | Rejected]:
        return each(image.records("regions"), "region_id", read_region, _SPLIT)

    yield from _read_pictures(source, pictures)
    yield from each(read_json_list(source.regions, "region_descriptions.json"), "id", read_image, _SPLIT)
    yield from unused(picture for number, picture in pictures.items() if number not in used)


def read_questions(source: VisualGenomeQaSource) -> Iterator[Annotation | Rejected]:
    """Every question with its one answer, in the file's order.

    Raises:
        UserError: a file is missing, broken or of another form.
    """
    pictures: dict[int, PictureFile] = {}
    used: set[int] = set()
    taken: set[int] = set()

    def read_question(question: Record) -> Iterable[Annotation]:
        picture = _picture_of(question, pictures, used)
        answer = question.text("answer")
        row = {
            "question_id": question.claim(question.number("qa_id"), taken),
            "image_id": picture.image_id,
            "question": question.text("question"),
            "question_type": None,
            "answer_type": None,
            "answers": [answer],
            "answer": answer,
            "split": _SPLIT,
        }
        yield Annotation(row, (picture,))

    def read_image(image: Record) -> Iterable[Annotation | Rejected]:
        return each(image.records("qas"), "qa_id", read_question, _SPLIT)

    yield from _read_pictures(source, pictures)
    yield from each(read_json_list(source.questions, "question_answers.json"), "id", read_image, _SPLIT)
    yield from unused(picture for number, picture in pictures.items() if number not in used)


def _read_pictures(
    source: VisualGenomeSource | VisualGenomeQaSource, pictures: dict[int, PictureFile]
) -> Iterator[Annotation | Rejected]:
    """Fill `pictures` by number; yield what image_data.json has wrong."""
    folder = pictures_folder(source.images, source.set)
    listed: set[int] = set()

    def add_picture(image: Record) -> Iterable[Annotation]:
        number = image.claim(image.number("image_id"), listed)
        # The address, .../VG_100K_2/1.jpg, ends in the name that the picture has in the official archives.
        address = image.optional_text("url") or f"{number}.jpg"
        name = last_part(address.rpartition("/")[2], image.where)
        candidates = tuple(folder / place / name for place in _FOLDERS)
        pictures[number] = PictureFile(f"visual_genome/{number}", name, candidates, image.optional_number("coco_id"))
        return ()

    yield from each(read_json_list(source.image_data, "image_data.json"), "image_id", add_picture)


def _picture_of(record: Record, pictures: dict[int, PictureFile], used: set[int]) -> PictureFile:
    number = record.number("image_id")
    if number not in pictures:
        record.fail(f"is about picture {number}, which image_data.json does not list", "unknown_picture")
    used.add(number)
    return pictures[number]
