"""The router: an Envoy external processor that sends each prompt where a joule does most.

`router.decide` is the pure core, `router.extproc` the gRPC shell around it. Neither imports
`capper`.
"""
