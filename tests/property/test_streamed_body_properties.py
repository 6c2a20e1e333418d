"""The framing of streamed bodies against protobuf's own."""

import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    ProcessingResponse,
    StreamedBodyResponse,
)
from hypothesis import given
from hypothesis import strategies as st

from router.extproc.events import Phase
from router.extproc.streamed_body import streamed_body

BODY_PHASES = (Phase.REQUEST_BODY, Phase.RESPONSE_BODY)


def by_protobuf(phase, part, *, end_of_stream):
    streamed = StreamedBodyResponse(body=part, end_of_stream=end_of_stream)
    common = CommonResponse(body_mutation=BodyMutation(streamed_response=streamed))
    return ProcessingResponse(**{phase.value: BodyResponse(response=common)}).SerializeToString()


@given(st.sampled_from(BODY_PHASES), st.binary(max_size=2000), st.booleans())
def test_the_bytes_are_those_that_protobuf_writes(phase, part, end_of_stream):
    expected = by_protobuf(phase, part, end_of_stream=end_of_stream)
    assert streamed_body(phase, part, end_of_stream=end_of_stream) == expected
    assert streamed_body(phase, memoryview(part), end_of_stream=end_of_stream) == expected


@pytest.mark.parametrize("size", [107, 108, 127, 128, 16_383, 16_384, 62_000, 2_097_152])
def test_lengths_of_every_width_are_written(size):
    part = b"x" * size
    expected = by_protobuf(Phase.REQUEST_BODY, part, end_of_stream=True)
    assert streamed_body(Phase.REQUEST_BODY, part, end_of_stream=True) == expected
