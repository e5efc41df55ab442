"""What is asked and answered, and stored nowhere: reviews of tokens and rights, and tokens themselves.

They are posted like objects that are to be created; what comes back is what was sent, with an answer in its status.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from apimachinery.errors import bad_request
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.registry.strategy import Change, nothing
from apiserver.rest import decode
from apiserver.rest.call import Call

# What was sent, checked against the schema of its kind and private, to what is answered. Raises ApiError.
Answer = Callable[[Call, Object], Awaitable[Object]]


class Question(NamedTuple):
    """One kind of question: what is sent, and who answers; `complete` adds what may be left out of it."""

    kind: Resource
    answer: Answer
    complete: Change = nothing


# By (group, plural, subresource) of what it is posted to.
Questions = Mapping[tuple[str, str, str], Question]


async def read(call: Call, question: Question) -> Object:
    """What was sent, in its full form. Raises ApiError."""
    body = await decode.read_body(call.http)
    if not body:
        raise bad_request(f"the body of the request is empty: it must be a {question.kind.kind}")
    document, duplicates = await decode.parse(body, decode.media_type(call.http))
    if isinstance(document, dict):
        question.complete(document)
    sent = decode.typed(call, question.kind, document, duplicates)
    _place(call, sent)
    return sent


def _place(call: Call, sent: Object) -> None:
    """Give a question the namespace and, if it is about an object, the name of the URL. Raises ApiError 400."""
    metadata = sent.setdefault("metadata", {})
    for field, value in (("namespace", call.namespace), ("name", call.name)):
        said = metadata.get(field)
        if said and value and said != value:
            raise bad_request(f"the {field} of the provided object does not match the {field} sent on the request")
        if value:
            metadata[field] = value
