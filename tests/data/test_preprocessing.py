"""The preprocessor is saved with the model and comes back the same."""

import json

import pytest

from eve_core.config import TokenizerConfig
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.tokenizer import train_tokenizer
from eve_core.errors import UserError


@pytest.fixture(scope="module")
def preprocessor():
    return Preprocessor(train_tokenizer(["a dog", "a cat"], TokenizerConfig(vocab_size=300), 8), 32, 8)


def test_a_text_is_cut_to_its_longest_and_keeps_its_separator(preprocessor):
    encoded = preprocessor.text("a dog and a cat and a bird and a horse")
    assert len(encoded["input_ids"]) == len(encoded["attention_mask"]) == 8
    assert encoded["input_ids"][-1] == preprocessor.tokenizer.sep_token_id
    assert set(encoded["attention_mask"]) == {1}


def test_saved_and_loaded_again_it_does_the_same(preprocessor, tmp_path):
    preprocessor.save(tmp_path)
    loaded = Preprocessor.load(tmp_path)
    assert (loaded.image_size, loaded.max_text_length) == (32, 8)
    assert loaded.text("A cat, a dog?") == preprocessor.text("A cat, a dog?")
    assert loaded.tokenizer.mask_token_id == preprocessor.tokenizer.mask_token_id


def test_other_programs_find_the_normalisation_beside_the_model(preprocessor, tmp_path):
    preprocessor.save(tmp_path)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert settings["image_mean"] == settings["image_std"] == [0.5, 0.5, 0.5]
    assert settings["size"] == {"height": 32, "width": 32}


@pytest.mark.parametrize("broken", ["absent", "empty", "torn", "no tokenizer"])
def test_a_folder_that_holds_no_model_is_refused(preprocessor, tmp_path, broken):
    folder = tmp_path / "model"
    if broken != "absent":
        folder.mkdir()
    if broken in ("torn", "no tokenizer"):
        preprocessor.save(folder)
    if broken == "torn":
        (folder / "preprocessor_config.json").write_text('{"size"')
    if broken == "no tokenizer":
        for file in folder.glob("tokenizer*"):
            file.unlink()
    with pytest.raises(UserError, match=r"^[^\n]*is no saved EVE model[^\n]*folder of a checkpoint$"):
        Preprocessor.load(folder)
