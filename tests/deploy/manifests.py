"""The manifests of deploy/, and what the chart makes of its values: valid for Kubernetes, strict, and coherent.

    manifests.py OUT    prints every problem, exit 1 if there is one; the gates' configurations go to OUT/BUNDLE.yaml

Each rule of `policy.py` is also shown to see its own mistake: MUTATIONS damages a good bundle in one place each.
"""
import copy
import functools
import json
import pathlib
import subprocess
import sys

import helm_python
import kubernetes_validate
import yaml

import policy

ROOT = pathlib.Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "chart"
KUBERNETES = ["1.30", "1.37"]
# Kinds of which this machine has no schema; policy.py looks at what they refer to.
CUSTOM = {
    "Certificate", "ServiceMonitor", "PrometheusRule", "SecurityPolicy", "ReferenceGrant", "AuthorizationPolicy",
}

# Changes to ci/default-values.yaml that the schema or the templates must refuse, and a word of the reason.
REFUSED = [
    ({"config": {"routes": []}}, "routes"),
    ({"shape": "daemon"}, "shape"),
    ({"replica": 2}, "replica"),
    ({"image": {"tag": "latest"}}, "tag"),
    ({"image": {"digest": "sha256:abc"}}, "digest"),
    ({"port": 443}, "port"),
    ({"port": 8080}, "expected the same port"),
    ({"config": {"admin": {"address": "0.0.0.0:9000"}}}, "address"),
    ({"config": {"limits": {"drain_timeout": "2m"}}}, "drain_timeout"),
    ({"config": {"limits": {"drain_timeout": "35s"}}}, "requests are cut off"),
    ({"shape": "sidecar"}, "image"),
    ({"shape": "sidecar", "app": {"image": "orders:latest"}}, "image"),
    ({"autoscaling": {"enabled": True}}, "needs config.dpop.replay.store: redis"),
    ({"nonceRotation": {"enabled": True}}, "config.dpop.nonce.secret_file"),
    ({"secrets": [{"name": "a", "folder": "../a", "keys": ["k"]}]}, "folder"),
    ({"certificate": {"enabled": True}, "tls": {"secretName": ""}}, "tls.secretName"),
]


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def kustomized(folder):
    built = subprocess.run(["kubectl", "kustomize", DEPLOY / folder], capture_output=True, text=True, check=False)
    if built.returncode != 0 or "deprecated" in built.stderr:
        sys.exit(f"{folder}: {built.stderr}")
    return documents(built.stdout)


def bundles():
    """Name and documents of everything that is applied together."""
    yield "sidecar", kustomized("sidecar") + documents((DEPLOY / "sidecar/monitoring.yaml").read_text())
    for folder in ["sidecar-patch", "gateway", "ext-authz"]:
        yield folder, kustomized(folder)
    yield "gateway-upstream", documents((DEPLOY / "gateway/upstream.yaml").read_text())
    for file in ["envoy-gateway.yaml", "istio.yaml"]:
        yield f"ext-authz-{file}", documents((DEPLOY / "ext-authz" / file).read_text())
    chart = helm_python.Chart.load(CHART)
    variants = sorted((CHART / "ci").glob("*-values.yaml"))
    assert len(variants) == 3, variants
    for variant in variants:
        values = yaml.safe_load(variant.read_text()) or {}
        linted = helm_python.lint(CHART, values, strict=True)
        if linted.get("errors") or any(message.get("severity", 0) >= 2 for message in linted.get("messages", [])):
            sys.exit(f"{variant.name}: {linted}")
        chart.validate_schema(chart.merge_values(values))
        rendered = chart.render(values, name="api", namespace="api", is_install=True)
        notes = next(text for path, text in rendered.items() if path.endswith("NOTES.txt"))
        expected = ["helm test api --namespace api"] + ["WARNING"] * ("sidecar" in variant.name)
        if missing := [word for word in expected if word not in notes]:
            sys.exit(f"{variant.name}: the notes lack {missing}:\n{notes}")
        manifests = [text for path, text in sorted(rendered.items()) if path.endswith(".yaml")]
        name = "chart-" + variant.name.removesuffix("-values.yaml")
        yield name, [document for text in manifests for document in documents(text)]


def invalid(document):
    return [] if document["kind"] in CUSTOM else told(json.dumps(document))


@functools.cache
def told(document):
    """What Kubernetes itself would say of it."""
    document, said = json.loads(document), []
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            said.append(f"{document['kind']}/{document['metadata']['name']}: Kubernetes {version}: {error.message}")
    return said


def refused_values():
    chart = helm_python.Chart.load(CHART)
    least = yaml.safe_load((CHART / "ci/default-values.yaml").read_text())
    changed = [(merged(least, change), word) for change, word in REFUSED]
    for values, word in [({}, "routes"), *changed]:
        try:
            chart.validate_schema(chart.merge_values(values))
            chart.render(values, name="api", namespace="api", is_install=True)
        except helm_python.HelmError as error:
            if word not in str(error):
                yield f"chart: {values} is refused, but not for {word!r}: {error}"
        else:
            yield f"chart: {values} is taken"


def merged(base, change):
    if not (isinstance(base, dict) and isinstance(change, dict)):
        return change
    return base | {key: merged(base.get(key), value) for key, value in change.items()}


def at(bundle, kind, name):
    return next(item for item in bundle if item["kind"] == kind and item["metadata"]["name"].startswith(name))


def pod(bundle, name="dpop-gate"):
    return at(bundle, "Deployment", name)["spec"]["template"]["spec"]


# A change to the gateway, and a word of what must be said of it.
MUTATIONS = [
    (lambda b: pod(b)["containers"][0]["securityContext"].pop("readOnlyRootFilesystem"), "readOnlyRootFilesystem"),
    (lambda b: pod(b)["containers"][0]["securityContext"].update(capabilities={"drop": ["NET_RAW"]}), "capabilities"),
    (lambda b: pod(b)["containers"][0]["securityContext"].update(runAsNonRoot=False), "runAsNonRoot"),
    (lambda b: pod(b)["securityContext"].pop("seccompProfile"), "seccompProfile"),
    (lambda b: pod(b).update(automountServiceAccountToken=True), "automountServiceAccountToken"),
    (lambda b: pod(b).update(hostNetwork=True), "hostNetwork"),
    (lambda b: pod(b)["containers"][0].update(image="dpop-gate:latest"), "image"),
    (lambda b: pod(b)["containers"][0]["resources"].pop("limits"), "memory"),
    (lambda b: pod(b)["containers"][0].pop("readinessProbe"), "readinessProbe"),
    (lambda b: pod(b)["containers"][0]["livenessProbe"]["httpGet"].update(path="/readyz"), "livenessProbe"),
    (lambda b: pod(b)["containers"][0]["livenessProbe"]["httpGet"].update(port="metrics"), "port metrics"),
    (lambda b: pod(b).update(terminationGracePeriodSeconds=40), "terminationGracePeriodSeconds"),
    (lambda b: pod(b)["containers"][0].pop("lifecycle"), "preStop"),
    (lambda b: pod(b)["containers"][0].update(env=[{"name": "S", "valueFrom": {"secretKeyRef": {}}}]), "secretKeyRef"),
    (lambda b: pod(b)["volumes"][0]["projected"]["sources"][0]["configMap"].update(name="other"), "ConfigMap other"),
    (lambda b: pod(b)["volumes"][0]["projected"]["sources"].pop(2), "nonce/current"),
    (lambda b: at(b, "Service", "dpop-gate")["spec"]["selector"].update({"app.kubernetes.io/name": "x"}), "selects no"),
    (lambda b: at(b, "Service", "dpop-gate")["spec"]["ports"][0].update(targetPort="web"), "port web"),
    (lambda b: at(b, "ServiceMonitor", "dpop-gate")["spec"]["endpoints"][0].update(port="web"), "port web"),
    (lambda b: at(b, "PodDisruptionBudget", "dpop-gate")["spec"]["selector"].update(matchLabels={"a": "b"}), "selects no"),
    (lambda b: at(b, "HorizontalPodAutoscaler", "dpop-gate")["spec"]["scaleTargetRef"].update(name="x"), "Deployment x"),
    (lambda b: at(b, "NetworkPolicy", "dpop-gate")["spec"]["ingress"].append({}), "everything"),
    (lambda b: b.remove(at(b, "NetworkPolicy", "dpop-gate")), "NetworkPolicy"),
    (lambda b: at(b, "Certificate", "dpop-gate")["spec"].update(secretName="x"), "dpop-gate-tls"),
    (lambda b: at(b, "Role", "nonce-rotation")["rules"][0].pop("resourceNames"), "every secret"),
    (lambda b: at(b, "RoleBinding", "nonce-rotation")["roleRef"].update(name="x"), "Role x"),
    (lambda b: pod(b)["containers"][0].update(resorces={}), "resorces"),
]


def blind_rules(gateway):
    for number, (damage, word) in enumerate(MUTATIONS):
        damaged = copy.deepcopy(gateway)
        damage(damaged)
        found = list(problems(damaged))
        if not any(word in problem for problem in found):
            yield f"mutation {number} ({word}) is not seen: {found}"


def problems(bundle):
    for document in bundle:
        yield from invalid(document)
    yield from policy.problems(bundle)


def main(out):
    helm_python.disable_logging()
    found = []
    for name, bundle in bundles():
        found += [f"{name}: {problem}" for problem in problems(bundle)]
        for config in policy.gate_configs(bundle):
            (out / f"{name}.yaml").write_text(config)
        if name == "gateway":
            found += list(blind_rules(bundle))
        print(f"{name}: {len(bundle)} documents")
    found += list(refused_values())
    if found:
        print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
