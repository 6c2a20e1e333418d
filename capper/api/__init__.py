"""The PowerCappingConfig resource: its models, its CRD and its reference, all from one source.

Pure: models and functions of them. Who reads and writes the cluster is capper.operator.
"""

GROUP = "powercapping.climatik-project.ai"
VERSION = "v1"
KIND = "PowerCappingConfig"
PLURAL = "powercappingconfigs"
API_VERSION = f"{GROUP}/{VERSION}"
