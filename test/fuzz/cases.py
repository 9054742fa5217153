"""Cases from an OpenAPI document, as JSON lines: what schemathesis makes of each operation, good and bad.

Arguments: the document, how many cases for each operation, a seed.
"""

import json
import sys
import warnings

from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import openapi
from schemathesis.core import NotSet
from schemathesis.generation import GenerationMode

warnings.simplefilter("ignore")
document, count, start = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def emit(operation, case):
    body = None if isinstance(case.body, NotSet) else case.body
    try:
        line = json.dumps(
            {
                "method": operation.method.upper(),
                "template": operation.path,
                "path": {name: str(value) for name, value in (case.path_parameters or {}).items()},
                "query": {name: value if isinstance(value, str) else json.dumps(value) for name, value in (case.query or {}).items()},
                "body": body,
            },
            allow_nan=False,
        )
    except (TypeError, ValueError):
        return
    print(line)


def make(operation, mode, examples):
    strategy = operation.as_strategy(generation_mode=mode)

    @seed(start)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def run(case):
        emit(operation, case)

    try:
        run()
    except Exception as error:  # An operation that no bad case can be made of has good ones only.
        print(f"{operation.label}: {type(error).__name__}", file=sys.stderr)


schema = openapi.from_path(document)
for result in schema.get_all_operations():
    operation = result.ok()
    make(operation, GenerationMode.POSITIVE, max(1, count - count // 3))
    make(operation, GenerationMode.NEGATIVE, max(1, count // 3))
