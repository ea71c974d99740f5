"""The log of a review: what commands do, that it replays, that undo gives back exactly what was there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemoscope.errors import ConfigError, DataError
from hemoscope.review.commands import COMMANDS, Entry, read_command
from hemoscope.review.log import apply, conflicts, digest, fold, perform
from hemoscope.review.state import State, arrive, revised, start
from tests.review.slides import AT, CLASSES, cell, give, place

CELLS = [cell(0), cell(1, "ig", "review"), cell(2, "platelet", "unknown"), cell(3, "monocyte"), cell(4, "ig")]
UNDO, REDO = {"kind": "undo"}, {"kind": "redo"}

numbers = st.lists(st.integers(0, 4), min_size=1, max_size=4)
commands = st.one_of(
    st.builds(place, numbers, st.sampled_from([*CLASSES, "not_classed"])),
    st.builds(lambda cells: {"kind": "confirm", "cells": cells}, numbers),
    st.builds(
        lambda n, text: {"kind": "note", "cell": n, "text": text}, st.integers(0, 4), st.text(max_size=5)
    ),
    st.just(UNDO),
    st.just(REDO),
    st.builds(lambda value: {"kind": "white_count", "value": value}, st.sampled_from([None, 4.5, 11.0])),
)
scripts = st.lists(st.tuples(st.sampled_from(["Ada", "Bo"]), st.sampled_from([1, 2]), commands), max_size=25)


def played(script) -> tuple[list[Entry], dict[int, State]]:
    """The log of what of a script could be done, and the states of both readings kept beside it."""
    log, states = [], {reading: start(CLASSES, CELLS, reading=reading) for reading in (1, 2)}
    for reader, reading, command in script:
        try:
            entry = perform(states[reading], read_command(command), at=AT, reader=reader, seq=len(log) + 1)
        except DataError:
            continue
        log.append(entry)
        states = {key: apply(state, entry) for key, state in states.items()}
    return log, states


@given(scripts)
def test_a_log_folds_to_the_state_that_its_entries_led_to_one_by_one(script):
    log, states = played(script)
    for reading, state in states.items():
        assert fold(start(CLASSES, CELLS, reading=reading), log) == state


@given(scripts)
def test_a_log_survives_being_written_as_json(script):
    log, _ = played(script)
    again = [Entry.model_validate_json(entry.model_dump_json()) for entry in log]
    assert again == log
    assert digest(again) == digest(log)


@given(scripts, commands)
def test_undo_gives_back_exactly_what_was_there_and_redo_does_it_again(script, command):
    _, states = played(script)
    before = states[1]
    if command["kind"] in ("undo", "redo", "white_count"):
        return
    try:
        done = give(before, command)
    except DataError:
        return
    back = give(done, UNDO)
    assert back.held == before.held
    assert back.done.get("Ada", ()) == before.done.get("Ada", ())
    again = give(back, REDO)
    assert (again.held, again.done, again.undone) == (done.held, done.done, done.undone)


@given(scripts)
def test_the_changes_of_a_log_alone_tell_where_every_cell_lies(script):
    log, states = played(script)
    places = start(CLASSES, CELLS).places
    for entry in log:
        if entry.reading == 1:
            for number, before, after in entry.changes:
                assert places[number] == before
                places[number] = after
    assert places == states[1].places


@given(scripts)
def test_every_undo_given_until_nothing_is_left_leads_back_to_the_start(script):
    """Of one reader alone; nothing is left of what was placed, and nothing of notes."""
    _, states = played([("Ada", 1, command) for _, _, command in script])
    state = states[1]
    while state.can_undo("Ada"):
        state = give(state, UNDO)
    assert state.held == start(CLASSES, CELLS).held


def test_cells_start_where_the_model_left_them():
    assert start(CLASSES, CELLS).places == {
        0: "neutrophil", 1: "review", 2: "unidentified", 3: "monocyte", 4: "ig",
    }  # fmt: skip
    assert start(CLASSES, CELLS).open == (1, 2)


def test_in_a_blind_reading_every_cell_starts_in_review_and_nothing_can_be_confirmed():
    state = start(CLASSES, CELLS, blind=True)
    assert set(state.places.values()) == {"review"}
    with pytest.raises(DataError, match="blind reading"):
        give(state, {"kind": "confirm", "cells": [0]})


def test_confirming_says_the_model_is_right_and_leaves_what_a_person_placed():
    state = give(start(CLASSES, CELLS), place([0], "ig"), {"kind": "confirm", "cells": [0, 1, 3]})
    assert state.places == {0: "ig", 1: "ig", 2: "unidentified", 3: "monocyte", 4: "ig"}
    assert state.reviewed == {0, 1, 3}


def test_placing_a_cell_where_it_lies_confirms_it():
    state = give(start(CLASSES, CELLS), place([4], "ig"))
    assert state.reviewed == {4}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (place([0], "review"), "cannot be put into 'review'"),
        (place([0], "unidentified"), "cannot be put into"),
        (place([7, 0], "ig"), "no cell 7; it has 5 cells"),
        ({"kind": "confirm", "cells": [2]}, "cell 2 is unidentified"),
        ({"kind": "note", "cell": 9, "text": "x"}, "no cell 9"),
        (UNDO, "nothing to take back: Ada"),
        (REDO, "nothing to do again: Ada"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(command, told):
    with pytest.raises(DataError, match=told):
        give(start(CLASSES, CELLS), command)


@pytest.mark.parametrize(
    "value",
    [
        {}, [], "undo", {"kind": "drop"}, {"kind": "place", "cells": [], "to": "ig"}, {"kind": "place", "cells": [-1], "to": "ig"},
        {"kind": "undo", "cells": [1]}, {"kind": "white_count", "value": 0}, {"kind": "white_count", "value": float("nan")},
        {"kind": "note", "cell": 0, "text": "x" * 2001},
    ],
)  # fmt: skip
def test_what_is_no_command_is_refused(value):
    with pytest.raises(DataError, match="no command of a review"):
        read_command(value)


def test_undo_leaves_what_somebody_else_has_changed_since():
    state = give(start(CLASSES, CELLS), place([0, 3], "ig"))
    state = give(state, place([3], "basophil"), reader="Bo")
    state = give(state, UNDO)
    assert (state.places[0], state.places[3]) == ("neutrophil", "basophil")
    state = give(state, REDO)
    assert (state.places[0], state.places[3]) == ("ig", "basophil")


def test_undo_takes_back_a_note_and_not_the_place_that_another_gave_the_cell():
    state = give(start(CLASSES, CELLS), {"kind": "note", "cell": 0, "text": "band?"})
    state = give(state, place([0], "ig"), reader="Bo")
    state = give(state, UNDO)
    assert (state.notes, state.places[0]) == ({}, "ig")


def test_a_new_command_leaves_nothing_to_do_again():
    state = give(start(CLASSES, CELLS), place([0], "ig"), UNDO, place([1], "ig"))
    assert not state.can_redo("Ada")
    assert state.can_undo("Ada")
    assert not state.can_undo("Bo")


def test_readings_do_not_see_each_other_but_share_the_white_count():
    log: list[Entry] = []
    give(start(CLASSES, CELLS), place([0], "ig"), {"kind": "white_count", "value": 5.0}, log=log)
    other = fold(start(CLASSES, CELLS, reading=2), log)
    assert other.places[0] == "neutrophil"
    assert (other.white_count, other.seq) == (5.0, 2)


def test_cells_that_come_later_change_nothing_of_what_was_done():
    log: list[Entry] = []
    early = give(start(CLASSES, CELLS[:3]), place([0], "ig"), UNDO, REDO, log=log)
    assert arrive(early, CELLS[3:]).held == fold(start(CLASSES, CELLS), log).held


def test_a_log_that_does_not_fit_its_cells_is_refused():
    log: list[Entry] = []
    give(start(CLASSES, CELLS), place([0], "ig"), log=log)
    with pytest.raises(DataError, match="entry 1 of the log says it changed cell 0 from neutrophil to ig"):
        fold(start(CLASSES, [replace(CELLS[0], pred="monocyte"), *CELLS[1:]]), log)
    with pytest.raises(DataError, match="comes after entry 1"):
        fold(start(CLASSES, CELLS), [*log, *log])


def test_who_touched_the_same_cells_since_is_named():
    log: list[Entry] = []
    state = give(start(CLASSES, CELLS), place([0, 1], "ig"), log=log)
    state = give(state, place([3], "ig"), {"kind": "note", "cell": 4, "text": "?"}, reader="Bo", log=log)

    def met(command, *, base=0, reader="Cy", client=""):
        found = conflicts(log, base, state, read_command(command), reader=reader, client=client)
        return [entry.seq for entry in found]

    assert met(place([1, 3], "basophil")) == [1, 2]
    assert met(place([1, 3], "basophil"), base=1) == [2]
    assert met(place([1], "basophil"), reader="Ada") == []
    assert met(place([1], "basophil"), reader="Ada", client="another window") == [1]
    assert met(place([4], "ig")) == [3]
    assert met(place([2], "ig")) == []
    assert met({"kind": "white_count", "value": 3.0}) == []


def test_undo_conflicts_where_another_has_touched_what_it_would_give_back():
    log: list[Entry] = []
    state = give(start(CLASSES, CELLS), place([0], "ig"), log=log)
    state = give(state, place([0], "basophil"), reader="Bo", log=log)
    assert [e.seq for e in conflicts(log, 1, state, read_command(UNDO), reader="Ada")] == [2]


def test_two_white_counts_conflict():
    log: list[Entry] = []
    state = give(start(CLASSES, CELLS), {"kind": "white_count", "value": 5.0}, log=log)
    command = COMMANDS.validate_python({"kind": "white_count", "value": 6.0})
    assert conflicts(log, 0, state, command, reader="Bo") == log


def test_a_revision_starts_with_the_places_and_nothing_to_take_back():
    state = give(
        start(CLASSES, CELLS, white_count=4.0), place([0], "ig"), {"kind": "note", "cell": 1, "text": "!"}
    )
    again = revised(state)
    assert (again.places, again.reviewed, again.notes, again.white_count) == (
        state.places, state.reviewed, state.notes, 4.0,
    )  # fmt: skip
    assert (again.seq, again.can_undo("Ada")) == (0, False)


def test_a_class_named_like_a_place_is_refused():
    with pytest.raises(ConfigError, match="review"):
        start(["review", "neutrophil"], [])


def test_the_digest_of_a_log_changes_with_every_entry():
    log: list[Entry] = []
    give(start(CLASSES, CELLS), place([0], "ig"), place([1], "ig"), log=log)
    other = log[0].model_copy(update={"reader": "Bo"})
    assert len({digest([]), digest(log[:1]), digest(log), digest([other])}) == 4
