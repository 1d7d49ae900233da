"""Promotion: with evidence only, recorded, and finished by a repeated call."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from eve_core.errors import UserError
from eve_core.evaluation.blessing import read_blessing, write_blessing
from eve_core.model_digest import model_digest
from eve_core.registry.models import aliases
from eve_core.registry.promotion import (
    baseline_for,
    champion,
    compare_with_champion,
    history,
    promote,
    rollback,
    verify,
)
from eve_core.registry.promotion_log import LogEntry, append
from eve_core.registry.tracking import open_experiment
from eve_core.registry.versions import download_checkpoint
from infra.local.servers import free_port
from tests.registry.conftest import register_stand_in


@pytest.fixture
def promoted(config):
    def promoted(version, reason="better"):
        return promote(config, task="vqa", version=version, reason=reason, serving_check=not_asked)

    return promoted


@pytest.fixture
def rolled_back(config):
    def rolled_back(reason="it fails", **settings):
        return rollback(config, task="vqa", reason=reason, serving_check=not_asked, **settings)

    return rolled_back


def not_asked(config, version, blessing):
    """What is registered here is no model."""


def aliases_of(config):
    return aliases(open_experiment(config), "eve-vqa")


def moves(config):
    return [(entry.from_version, entry.to_version) for entry in history(config, "vqa")]


def test_there_is_no_champion_at_first(config):
    assert champion(config, "vqa") is None
    assert baseline_for(config, "vqa", "any") is None
    assert history(config, "vqa") == []


def test_the_champion_gives_way_and_is_remembered(config, registered, promoted):
    one = promoted(registered("a"), "the first")
    assert (one.champion, one.previous, one.changed) == ("1", None, True)
    two = promoted(registered("b", champion="1"), "a gain")
    assert (two.champion, two.previous, two.changed) == ("2", "1", True)
    assert aliases_of(config) == {"champion": "2", "previous_champion": "1"}
    assert [(e.from_version, e.to_version, e.reason) for e in history(config, "vqa")] == [
        (None, "1", "the first"),
        ("1", "2", "a gain"),
    ]
    best = champion(config, "vqa")
    assert (best.version, best.metrics, best.data_revision) == ("2", {"accuracy": 0.7}, "revision")
    assert history(config, "vqa")[-1].blessing_digest == best.blessing_digest


def test_promoting_the_champion_again_does_nothing(config, registered, promoted):
    promoted(registered("a"))
    promoted(registered("b", champion="1"))
    again = promoted("2")
    assert (again.champion, again.previous, again.changed) == ("2", "1", False)
    assert len(history(config, "vqa")) == 2
    assert aliases_of(config) == {"champion": "2", "previous_champion": "1"}


def test_the_same_model_under_a_new_number_changes_nothing(config, registered, promoted):
    """Two runs of the same settings at two code revisions, side by side, register the same model twice."""
    first, second = registered("a"), registered("a", code_revision="later")
    assert (first, second) == ("1", "2")
    promoted(first)
    again = promoted("2")
    assert (again.champion, again.changed) == ("1", False)
    assert aliases_of(config) == {"champion": "1"}


def test_registering_the_champion_again_does_not_make_it_a_candidate(config, registered, promoted):
    promoted(registered("a"))
    assert registered("a") == "1"
    assert aliases_of(config) == {"champion": "1"}


def test_a_candidate_has_to_beat_the_champion_and_a_repeated_one_the_same_as_before(config, registered, promoted):
    promoted(registered("a"))
    assert baseline_for(config, "vqa", "another model").version == "1"
    first = champion(config, "vqa").model_digest
    assert baseline_for(config, "vqa", first) is None  # it was compared with nothing
    promoted(registered("b", champion="1"))
    second = champion(config, "vqa").model_digest
    assert baseline_for(config, "vqa", second).version == "1"
    assert baseline_for(config, "vqa", first).version == "2"


def test_a_version_compared_with_another_champion_is_refused(config, registered, promoted):
    promoted(registered("a"))
    for weights in ("b", "c"):
        registered(weights, champion="1")
    promoted("2")
    with pytest.raises(UserError, match="version 3 was compared with champion 1 but there is champion 2 now"):
        promoted("3")
    registered("d")
    with pytest.raises(UserError, match="version 4 was compared with no champion but there is champion 2 now"):
        promoted("4")
    assert aliases_of(config)["champion"] == "2"
    assert len(history(config, "vqa")) == 2


def test_a_former_champion_returns_by_a_rollback(config, registered, promoted, rolled_back):
    promoted(registered("a"))
    promoted(registered("b", champion="1"))
    with pytest.raises(UserError, match="if it is to return, use `eve rollback`"):
        promoted("1")
    back = rolled_back("version 2 answers too slowly")
    assert (back.champion, back.previous, back.changed) == ("1", "2", True)
    assert moves(config) == [(None, "1"), ("1", "2"), ("2", "1")]
    assert [(e.kind, e.reason) for e in history(config, "vqa")][-1] == ("rollback", "version 2 answers too slowly")
    forth = rolled_back(to="2")
    assert (forth.champion, forth.previous, forth.changed) == ("2", "1", True)
    assert not rolled_back(to="2").changed
    assert verify(config, "vqa") == []


def test_a_rollback_that_is_run_again_is_done_already(config, registered, promoted, rolled_back):
    promoted(registered("a"))
    promoted(registered("b", champion="1"))
    assert rolled_back().champion == "1"
    again = rolled_back()
    assert (again.champion, again.changed) == ("1", False)
    promoted(registered("c", champion="1"))
    assert rolled_back().champion == "1"  # after a promotion it is another one


def test_what_was_rolled_back_is_not_promoted_by_a_run_that_is_repeated(config, registered, promoted, rolled_back):
    promoted(registered("a"))
    promoted(registered("b", champion="1"))
    rolled_back("it is rude")
    with pytest.raises(UserError, match=r"version 2 was rolled back at .* \(it is rude\); .*`eve rollback --to 2`"):
        promoted("2")
    assert rolled_back(to="2").champion == "2"


def test_a_version_is_the_same_however_its_number_is_written(config, registered, promoted, rolled_back):
    promoted(registered("a"))
    registered("b", champion="1")
    assert promoted("02").champion == "2"
    assert aliases_of(config) == {"champion": "2", "previous_champion": "1"}
    assert rolled_back(to="001").champion == "1"
    assert verify(config, "vqa") == []


def test_an_alias_that_was_deleted_comes_back_from_the_log(config, registered, promoted):
    promoted(registered("a"))
    promoted(registered("b", champion="1"))
    open_experiment(config).client.delete_registered_model_alias("eve-vqa", "champion")
    assert champion(config, "vqa").version == "2"
    assert verify(config, "vqa") == []


def test_a_champion_that_was_deleted_gives_no_candidate_its_place(config, registered, promoted, rolled_back):
    promoted(registered("a"))
    promoted(registered("b", champion="1"))
    registered("c")  # compared with nothing
    open_experiment(config).client.delete_model_version("eve-vqa", "2")
    for attempt in (lambda: champion(config, "vqa"), lambda: promoted("3"), lambda: baseline_for(config, "vqa", "x")):
        with pytest.raises(UserError, match="version 2, which is champion by the promotion log, was deleted"):
            attempt()
    assert "there is no version 2 of eve-vqa" in " ".join(verify(config, "vqa"))
    assert rolled_back(to="1").champion == "1"
    assert champion(config, "vqa").version == "1"
    assert moves(config)[-1] == ("2", "1")


def test_a_former_champion_that_was_deleted_is_not_missed(config, registered, promoted):
    promoted(registered("a"))
    promoted(registered("b", champion="1"))
    open_experiment(config).client.delete_model_version("eve-vqa", "1")
    assert champion(config, "vqa").version == "2"
    assert promoted(registered("c", champion="2")).champion == "3"


def test_only_a_champion_can_be_rolled_back_to_unless_one_insists(config, registered, promoted, rolled_back):
    with pytest.raises(UserError, match="no champion before today's to go back to"):
        rolled_back()
    promoted(registered("a"))
    registered("b", champion="1")
    with pytest.raises(UserError, match="version 2 never was champion; roll back to one that was"):
        rolled_back(to="2")
    assert aliases_of(config)["champion"] == "1"
    with pytest.raises(UserError, match="the reason has 0 letters"):
        rolled_back(to="2", force=True, reason=" ")
    assert rolled_back(to="2", force=True, reason="it is an emergency").champion == "2"


def test_a_version_that_does_not_serve_moves_nothing(config, registered, promoted):
    def fails(config, version, blessing):
        raise UserError("it does not load")

    promoted(registered("a"))
    registered("b", champion="1")
    with pytest.raises(UserError, match="it does not load"):
        promote(config, task="vqa", version="2", reason="better", serving_check=fails)
    assert aliases_of(config) == {"champion": "1", "candidate": "2"}
    assert len(history(config, "vqa")) == 1


def test_two_promotions_at_once_leave_one_champion_and_a_whole_log(config, registered, promoted):
    """The slower one finds what it was compared with gone, while it was being checked."""
    promoted(registered("a"))
    for weights in ("b", "c"):
        registered(weights, champion="1")

    def meanwhile(config, version, blessing):
        promoted("2")

    with pytest.raises(UserError, match="version 3 was compared with champion 1 but there is champion 2 now"):
        promote(config, task="vqa", version="3", reason="better", serving_check=meanwhile)
    assert moves(config) == [(None, "1"), ("1", "2")]
    assert verify(config, "vqa") == []


def test_of_two_entries_at_one_place_the_first_counts(config, registered, promoted):
    promoted(registered("a"))
    for weights in ("b", "c"):
        registered(weights, champion="1")
    tracking, before = open_experiment(config), history(config, "vqa")
    entries = [
        LogEntry(
            "promotion", "1", version, f"2026-01-01T00:00:0{version}", "somebody", "better", "b", before[-1].digest
        )
        for version in ("2", "3")
    ]
    version = tracking.client.get_model_version("eve-vqa", "2")
    assert [append(tracking, "eve-vqa", version, entry) for entry in entries] == [True, False]
    assert history(config, "vqa") == [*before, entries[0]]
    assert champion(config, "vqa").version == "2"  # whoever looks next moves the alias
    assert aliases_of(config)["previous_champion"] == "1"


def test_a_log_that_was_changed_or_cut_is_noticed(config, registered, promoted):
    promoted(registered("a"))
    promoted(registered("b", champion="1"))
    client = open_experiment(config).client
    entry = client.get_model_version("eve-vqa-promotions", "1").tags["eve.promotion"]
    client.set_model_version_tag("eve-vqa-promotions", "1", "eve.promotion", entry.replace("better", "worse"))
    with pytest.raises(UserError, match="entry 1 of the promotion log eve-vqa-promotions was changed"):
        history(config, "vqa")
    client.set_model_version_tag("eve-vqa-promotions", "1", "eve.promotion", entry)
    assert verify(config, "vqa") == []
    client.delete_model_version("eve-vqa-promotions", "1")
    with pytest.raises(UserError, match="lacks entries"):
        verify(config, "vqa")


def test_an_alias_that_was_moved_by_hand_is_told(config, registered, promoted):
    promoted(registered("a"))
    promoted(registered("b", champion="1"))
    registered("c", champion="2")
    open_experiment(config).client.set_registered_model_alias("eve-vqa", "champion", "3")
    assert verify(config, "vqa") == [
        "the alias champion of eve-vqa is at 3, but by the promotion log it is 2",
    ]
    assert champion(config, "vqa").version == "3"  # nobody moves it back behind their back
    promoted(registered("d", champion="3"))
    (said,) = verify(config, "vqa")
    assert "began at version 3, but version 2 was champion by the promotion log" in said


def test_the_champion_beside_another_version(config, registered, promoted):
    with pytest.raises(UserError, match="eve-vqa has no champion"):
        compare_with_champion(config, "vqa", None)
    promoted(registered("a", accuracy=0.6))
    with pytest.raises(UserError, match="no champion before today's; name another version"):
        compare_with_champion(config, "vqa", None)
    promoted(registered("b", champion="1"))
    ours, theirs = compare_with_champion(config, "vqa", None)
    assert (ours.version, theirs.version, ours.metrics["accuracy"], theirs.metrics["accuracy"]) == ("2", "1", 0.7, 0.6)


@pytest.mark.parametrize("calls", range(4))
def test_an_interrupted_promotion_is_finished_by_the_next_call(config, registered, promoted, monkeypatch, calls):
    from mlflow import MlflowClient

    promoted(registered("a"))
    version = registered("b", champion="1")
    left = calls

    def limited(original):
        def call(*arguments, **named):
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return original(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        for name in ("create_model_version", "set_registered_model_alias", "delete_registered_model_alias"):
            patch.setattr(MlflowClient, name, limited(getattr(MlflowClient, name)))
        with pytest.raises(KeyboardInterrupt):
            promoted(version)
    assert champion(config, "vqa").version == ("1" if calls == 0 else "2")
    promoted(version)
    assert aliases_of(config) == {"champion": "2", "previous_champion": "1"}
    assert moves(config) == [(None, "1"), ("1", "2")]
    assert verify(config, "vqa") == []


def stored(config):
    return Path(open_experiment(config).client.get_model_version_download_uri("eve-vqa", "1")) / "artifacts"


def test_a_version_without_its_blessing_is_refused(config, registered, promoted):
    registered("a")
    path = stored(config) / "blessing.json"
    kept = path.read_text()
    path.write_text(json.dumps({**json.loads(kept), "items": 10_000}))
    with pytest.raises(UserError, match="was changed after"):
        promoted("1")
    path.write_text(kept)
    write_blessing(replace(read_blessing(path), items=10_000), path)
    with pytest.raises(UserError, match="has not the blessing that it was registered with"):
        promoted("1")
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        promoted("1")
    assert aliases_of(config) == {"candidate": "1"}
    assert history(config, "vqa") == []


def test_a_version_whose_stored_model_changed_is_refused(config, registered, promoted):
    registered("a")
    (stored(config) / "checkpoint" / "model.safetensors").write_text("other weights")
    with pytest.raises(UserError, match="holds another model than its blessing"):
        promoted("1")


def test_an_unknown_version_or_task_is_named(config, registered, promoted):
    registered("a")
    for version in ("9", "newest"):
        with pytest.raises(UserError, match=f"no version {version} of eve-vqa"):
            promoted(version)
    with pytest.raises(UserError, match="choose one of vqa, nlvr2, retrieval"):
        promote(config, task="captioning", version="1", reason="")


def test_an_alias_that_another_process_sets_at_the_same_moment_is_set(config, registered, promoted, monkeypatch):
    """As PostgreSQL does, of two that are the first to set one."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    set_alias = MlflowClient.set_registered_model_alias

    def turned_away(self, name, alias, version):
        set_alias(self, name, alias, version)
        raise MlflowException("duplicate key value violates unique constraint")

    first, second = registered("a"), registered("b", champion="1")
    promoted(first)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", turned_away)
        assert promoted(second).changed
    assert aliases_of(config) == {"champion": "2", "previous_champion": "1"}


def test_an_alias_that_cannot_be_set_is_no_promotion(config, registered, promoted, monkeypatch):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def broken(*_):
        raise MlflowException("the disk is full")

    version = registered("a")
    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", broken)
    with pytest.raises(MlflowException, match="the disk is full"):
        promoted(version)


def test_a_registry_that_cannot_be_reached(config, make, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    checkpoint, blessing = make("a")
    away = config.model_copy(update={"tracking_uri": f"http://127.0.0.1:{free_port()}"})
    attempts = [
        lambda: promote(away, task="vqa", version="1", reason="better"),
        lambda: rollback(away, task="vqa", reason="it fails"),
        lambda: champion(away, "vqa"),
        lambda: verify(away, "vqa"),
        lambda: register_stand_in(away, checkpoint, blessing),
    ]
    for attempt in attempts:
        with pytest.raises(
            UserError, match=r"MLflow at http://127\.0\.0\.1:\d+ does not answer .* registry\.tracking_uri"
        ):
            attempt()


def test_a_version_that_somebody_else_made_is_refused(config, promoted):
    client = open_experiment(config).client
    client.create_registered_model("eve-vqa")
    client.create_model_version("eve-vqa", source="/nowhere")
    with pytest.raises(UserError, match="was not registered by eve"):
        promoted("1")


def test_a_checkpoint_is_read_where_it_is_stored(config, make, promoted, tmp_path):
    checkpoint, blessing = make("a")
    promoted(register_stand_in(config, checkpoint, blessing))
    folder = download_checkpoint(config, champion(config, "vqa"), str(tmp_path))
    assert folder == stored(config) / "checkpoint"
    assert model_digest(folder) == model_digest(checkpoint)


def test_another_process_reads_the_same(config, registered, promoted):
    promoted(registered("a"))
    promoted(registered("b", champion="1"))
    code = (
        "from eve_core.config.run import RegistryConfig\n"
        "from eve_core.registry.promotion import champion, history\n"
        f"config = RegistryConfig.model_validate_json({config.model_dump_json()!r})\n"
        "print(champion(config, 'vqa').version, [entry.to_version for entry in history(config, 'vqa')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("2 ['1', '2']\n", "")
