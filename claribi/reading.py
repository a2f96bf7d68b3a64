"""Making a model of an answer."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from claribi.answers import Reply, json_of
from claribi.errors import DecodeError, RequestInfo

M = TypeVar("M", bound=BaseModel)


def reader(model: type[M]) -> Callable[[Reply, RequestInfo], M]:
    """What makes a `model` of a successful answer; raises DecodeError."""
    validate = model.model_validate

    def read(reply: Reply, request: RequestInfo) -> M:
        try:
            # An answer that may be empty reads as one without fields.
            return validate({} if not reply.body else json_of(reply, request))
        except ValidationError as error:
            raise DecodeError(
                f"the answer is no {model.__name__}: {faults_of(error)}",
                request=request,
                status=reply.status,
            ) from None

    return read


def faults_of(error: ValidationError) -> str:
    """What is wrong with some values: places and reasons only, for a value may be a secret."""
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, f['loc'])) or 'body'}: {f['msg']}" for f in faults[:5])
