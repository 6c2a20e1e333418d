"""The gRPC shell around the decision: Envoy's external processing protocol.

The path of a request: `servicer` reads a message, `codec` turns it into an event, `session` (a
state machine without I/O) asks the decider and answers with replies, `codec` makes those bytes.
"""
