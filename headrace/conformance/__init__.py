"""A black-box suite for any picker that speaks the Endpoint Picker Protocol.

It plays the part of Envoy over gRPC and knows nothing of the picker behind. `wire` makes messages
as Envoy makes them, `envoy_view` is what Envoy would make of the replies, `conversation` is one
stream with time limits, `lab` is what a case works with, `cases_*` are the rules, `suite` runs
them.
"""
