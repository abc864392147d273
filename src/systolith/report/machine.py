"""A verification as JSON and as JUnit XML.

JSON, schema ``systolith/verify/1`` (keys are added within a version, never removed or renamed)::

    schema, systolith        "systolith/verify/1", version of this package
    ok                       true: every layer compared, nothing differs
    model, profile, runtime, backend, accelerator (nested specification), rows, columns
    samples, inputs_from, reference_from
    macs, cycles, utilisation, compared, mismatches      totals; null without a clock
    counters, seconds        by name
    bounded                  values among those compared that were compared with bounds
    layers[]                 the fields of `LayerReport`; its proofs[] those of `Proof`, its
                             bounded those of `Bounded`
    proven                   totals of the proofs, the fields of `Proven`
    first_mismatch           the fields of `Mismatch`, or null
    remarks[], labels[], predictions[], accuracy
"""

import json
import math
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

import systolith
from systolith.report.verification import mismatch_lines
from systolith.verify.results import VerifyReport

__all__ = ["SCHEMA", "report_json", "report_junit"]

SCHEMA = "systolith/verify/1"


def _plain(value: Any) -> Any:
    """Replace what JSON lacks: infinities and NaN become their names."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def report_json(report: VerifyReport) -> str:
    """Return the report as indented JSON text, see the module's docstring."""
    values = asdict(report)
    first = values.pop("first")
    document = {
        "schema": SCHEMA,
        "systolith": systolith.__version__,
        "ok": report.ok,
        **values,
        "macs": report.macs,
        "utilisation": report.utilisation,
        "compared": report.compared,
        "bounded": report.bounded,
        "mismatches": report.mismatches,
        "proven": asdict(report.proven),
        "first_mismatch": first,
        "accuracy": report.accuracy,
    }
    return json.dumps(_plain(document), indent=2, allow_nan=False) + "\n"


def report_junit(report: VerifyReport) -> str:
    """Return the report as JUnit XML: one test case per layer, failed where values differ."""
    failures = sum(layer.mismatches > 0 for layer in report.layers)
    missing = set(report.uncompared)
    suite = ElementTree.Element(
        "testsuite",
        name=f"systolith verify {report.model}",
        tests=str(len(report.layers)),
        failures=str(failures),
        errors=str(len(missing)),
        skipped=str(sum(not layer.compared for layer in report.layers) - len(missing)),
        time=f"{report.seconds.get('total', 0.0):.3f}",
    )
    for layer in report.layers:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"{report.model}.{report.profile}", name=layer.name
        )
        if layer.mismatches:
            text = f"{layer.mismatches} of {layer.compared} values differ"
            failure = ElementTree.SubElement(case, "failure", message=text, type="mismatch")
            if report.first is not None and report.first.layer == layer.name:
                failure.text = "\n".join(mismatch_lines(report.first))
        elif layer.hidden and not layer.compared:
            ElementTree.SubElement(case, "skipped", message="hidden by fusion")
        elif not layer.compared:
            ElementTree.SubElement(case, "error", message="nothing to compare", type="uncompared")
        output = ElementTree.SubElement(case, "system-out")
        output.text = (
            f"{layer.op} {layer.where} macs={layer.macs} cycles={layer.cycles} "
            f"compared={layer.compared} with {layer.against}; {layer.mode} {layer.note}"
        )
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
