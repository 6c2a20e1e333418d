"""A vLLM fleet that exists in time, tokens and joules only, and the load that is put on it.

The simulated fleet, pure part: `truth` (physics), `engine` with `engine_state`, `kv_cache`,
`kv_blocks` and `energy_meter`, `prompts`, `openai_wire`, `openai_replies`, `exposition`,
`vllm_metrics`, `gpu_sensor`. They know no clock, socket or randomness but what is passed in, so
that the servers here and a discrete-event simulator with a virtual clock run the same engine.
Its shell: `simulated_clock`, `replica`, `vllm_routes`, `vllm_server`, `dcgm_exporter`,
`fleet_spec`, `sim_fleet`, `fleet_control`.

The load: `traces` and `arrivals` (who asks when), `client` and `stream_scan` (asking),
`outcome` (what came of it).

Nothing here imports the router's profiles: simulated hardware must be able to disagree with what
the router believes.
"""
