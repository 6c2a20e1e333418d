"""The messages of KEDA's external scaler protocol, from our own description of their fields.

Wire compatible with package `externalscaler` of KEDA (field numbers as in its documentation of the
external scaler). Described here and built when imported: there is no generated code to keep.
"""

from capper.proto import Fields, message_classes

PACKAGE = "externalscaler"
SERVICE = f"{PACKAGE}.ExternalScaler"

_MESSAGES: dict[str, Fields] = {
    "ScaledObjectRef": (
        (1, "name", "string"),
        (2, "namespace", "string"),
        (3, "scalerMetadata", "map"),
    ),
    "IsActiveResponse": ((1, "result", "bool"),),
    "MetricSpec": (
        (1, "metricName", "string"),
        (2, "targetSize", "int64"),
        (3, "targetSizeFloat", "double"),
    ),
    "GetMetricSpecResponse": ((1, "metricSpecs", "*MetricSpec"),),
    "GetMetricsRequest": ((1, "scaledObjectRef", "ScaledObjectRef"), (2, "metricName", "string")),
    "MetricValue": (
        (1, "metricName", "string"),
        (2, "metricValue", "int64"),
        (3, "metricValueFloat", "double"),
    ),
    "GetMetricsResponse": ((1, "metricValues", "*MetricValue"),),
}

_CLASSES = message_classes(PACKAGE, _MESSAGES)

ScaledObjectRef = _CLASSES["ScaledObjectRef"]
IsActiveResponse = _CLASSES["IsActiveResponse"]
MetricSpec = _CLASSES["MetricSpec"]
GetMetricSpecResponse = _CLASSES["GetMetricSpecResponse"]
GetMetricsRequest = _CLASSES["GetMetricsRequest"]
MetricValue = _CLASSES["MetricValue"]
GetMetricsResponse = _CLASSES["GetMetricsResponse"]
