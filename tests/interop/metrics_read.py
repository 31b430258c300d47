"""Parses what /metrics says with Prometheus' own parser.

The argument is the content type, the text comes on stdin. Prints {"<sample>": <sum over its labels>, ...}.
"""

import json
import sys
from collections import defaultdict

text = sys.stdin.read()
if sys.argv[1].startswith("application/openmetrics-text"):
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
else:
    from prometheus_client.parser import text_string_to_metric_families

sums: dict[str, float] = defaultdict(float)
for family in text_string_to_metric_families(text):
    if not family.documentation:
        sys.exit(f"{family.name} has no HELP")
    if family.type in ("unknown", "untyped"):
        sys.exit(f"{family.name} has no TYPE")
    for sample in family.samples:
        sums[sample.name] += sample.value
print(json.dumps(sums))
