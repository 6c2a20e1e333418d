"""How log lines look: text for people, or one JSON object a line."""

import json
import logging
from datetime import UTC, datetime

_TEXT = "%(asctime)s %(levelname)s {worker}%(name)s %(message)s"


class JsonFormatter(logging.Formatter):
    """One line of JSON: time (RFC 3339, UTC), level, logger, message, and the exception if any."""

    def __init__(self, worker: int | None = None) -> None:
        """With the number of the worker that writes, where there are several."""
        super().__init__()
        self._worker = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._worker,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure_logging(
    log_format: str, *, level: int = logging.INFO, worker: int | None = None
) -> None:
    """Send logs to standard error as "text" or "json", those of a worker with its number."""
    handler = logging.StreamHandler()
    named = "" if worker is None else f"worker {worker}: "
    handler.setFormatter(
        JsonFormatter(worker)
        if log_format == "json"
        else logging.Formatter(_TEXT.format(worker=named))
    )
    logging.basicConfig(level=level, handlers=[handler])
