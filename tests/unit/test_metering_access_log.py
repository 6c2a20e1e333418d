"""The file of access records."""

import json

from router.metering.access_log import AccessLog
from router.metering.record import AccessRecord

RECORD = AccessRecord(**dict.fromkeys(AccessRecord._fields))


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_are_written_at_once_when_flushed_and_unknown_is_null(tmp_path):
    path = tmp_path / "records.jsonl"
    log = AccessLog(str(path))
    for number in range(3):
        log.add(RECORD._replace(request_id=f"r-{number}"))
    assert not path.exists()
    log.flush()
    assert [line["request_id"] for line in lines(path)] == ["r-0", "r-1", "r-2"]
    assert lines(path)[0]["joules"] is None
    assert log.written == 3
    log.close()


def test_many_records_are_written_without_waiting_for_the_flush(tmp_path):
    path = tmp_path / "records.jsonl"
    log = AccessLog(str(path))
    for _ in range(500):
        log.add(RECORD)
    assert 0 < log.written < 500
    log.close()
    assert len(lines(path)) == log.written == 500


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path):
    path = tmp_path / "records.jsonl"
    log = AccessLog(str(path))
    log.add(RECORD._replace(request_id="old"))
    log.flush()
    path.rename(tmp_path / "records.jsonl.1")
    log.add(RECORD._replace(request_id="new"))
    log.flush()
    assert [line["request_id"] for line in lines(path)] == ["new"]
    assert [line["request_id"] for line in lines(tmp_path / "records.jsonl.1")] == ["old"]
    log.close()


def test_what_cannot_be_written_is_held_to_a_bound_then_dropped_and_counted(tmp_path, caplog):
    path = tmp_path / "missing" / "records.jsonl"
    log = AccessLog(str(path))
    fits = 16 * 2**20 // len(RECORD.to_line()) + 1
    for _ in range(fits + 5):
        log.add(RECORD)
    log.flush()
    assert log.dropped == 5
    assert len(caplog.records) == 1
    path.parent.mkdir()
    log.close()
    assert log.written == fits
    assert path.stat().st_size == fits * len(RECORD.to_line())


def test_standard_output_takes_records_too(capfdbinary):
    log = AccessLog("-")
    log.add(RECORD._replace(model="llama"))
    log.close()
    assert json.loads(capfdbinary.readouterr().out)["model"] == "llama"
