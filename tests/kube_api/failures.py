"""Errors as the API reports them: a Status object with a reason."""

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
}


class ApiError(Exception):
    """An answer that is not the object asked for."""

    def __init__(self, code, message, *, reason=None, causes=()):
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason or _REASONS[code],
            "details": {"causes": list(causes)},
            "code": code,
        }


def not_found(resource, name):
    return ApiError(404, f'{resource.qualified} "{name}" not found')


def invalid(resource, name, problems):
    """422 with one cause per (field, sentence)."""
    said = ", ".join(f"{field}: {sentence}" for field, sentence in problems)
    return ApiError(
        422,
        f'{resource.kind} "{name}" is invalid: {said}',
        causes=[
            {"reason": "FieldValueInvalid", "field": field, "message": sentence}
            for field, sentence in problems
        ],
    )
