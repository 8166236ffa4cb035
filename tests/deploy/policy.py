"""What a bundle of manifests must hold beyond Kubernetes' own schema: strictness, and that names meet their things."""
import yaml

# Where each kind keeps its pod.
POD_KINDS = {"Deployment": lambda spec: spec["template"], "CronJob": lambda spec: spec["jobTemplate"]["spec"]["template"],
             "Pod": None}


def problems(bundle):
    pods = list(pod_specs(bundle))
    for owner, labels, spec in pods:
        yield from (f"{owner}: {problem}" for problem in pod_problems(bundle, owner, spec))
        policies = [item for item in bundle if item["kind"] == "NetworkPolicy"]
        serves = any(container.get("ports") for container in containers(spec))
        if serves and not any(selects(policy["spec"]["podSelector"], labels) for policy in policies):
            yield f"{owner}: no NetworkPolicy selects it"
    for document in bundle:
        name = f"{document['kind']}/{document['metadata']['name']}"
        check = REFERENCES.get(document["kind"], lambda *_: ())
        yield from (f"{name}: {problem}" for problem in check(bundle, document, pods))


def pod_specs(bundle):
    for document in bundle:
        if document["kind"] in POD_KINDS:
            inner = POD_KINDS[document["kind"]]
            template = inner(document["spec"]) if inner else document
            owner = f"{document['kind']}/{document['metadata']['name']}"
            yield owner, template["metadata"].get("labels", {}), template["spec"]


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


def pod_problems(bundle, owner, spec):
    for key in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"]:
        if spec.get(key):
            yield f"{key} is on"
    existing = owner == "Deployment/shop"  # the operator's own, patched: the gate in it answers for itself
    for container in containers(spec):
        is_strict = not existing or container["name"] == "dpop-gate"
        for problem in container_problems(spec, container, is_strict):
            yield f"{container['name']}: {problem}"
    if not existing:
        if spec.get("automountServiceAccountToken") is not False and "serviceAccountName" not in spec:
            yield "automountServiceAccountToken is not off"
        if spec.get("serviceAccountName") and "rotation" not in owner:
            yield "a service account that it has no use for"
    yield from volume_problems(bundle, spec)
    gate = next((container for container in containers(spec) if is_gate(container)), None)
    if gate:
        yield from gate_problems(bundle, spec, gate)


def container_problems(spec, container, is_strict):
    image = container["image"]
    if ":" not in image or image.endswith(":latest"):
        yield f"image {image} is not pinned"
    resources = container.get("resources", {})
    for kind, key in [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")]:
        if key not in resources.get(kind, {}):
            yield f"resources.{kind}.{key} is missing"
    for variable in container.get("env", []):
        if "secretKeyRef" in variable.get("valueFrom", {}):
            yield f"env {variable['name']} is a secretKeyRef; secrets are files"
    if not is_strict:
        return
    security = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
    wanted = {"runAsNonRoot": True, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
              "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}
    for key, value in wanted.items():
        if security.get(key) != value:
            yield f"securityContext.{key} is {security.get(key)}, not {value}"
    if security.get("privileged") or not security.get("runAsUser"):
        yield "securityContext: privileged, or no user by number"


def is_gate(container):
    return container.get("args", [""])[0] == "run"


def volume_problems(bundle, spec):
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    for container in containers(spec):
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"volume {mount['name']} is missing"
    for source in sources(spec):
        if "configMap" in source and not find(bundle, "ConfigMap", source["configMap"]["name"]):
            yield f"ConfigMap {source['configMap']['name']} is missing"


def sources(spec):
    for volume in spec.get("volumes", []):
        yield from volume.get("projected", {}).get("sources", [volume])


def gate_problems(bundle, spec, gate):
    yield from probe_problems(gate)
    config = next(configs_of(bundle, spec), None)
    if config is None:
        yield "no gate.yaml is mounted"
        return
    ports = {port["containerPort"] for port in gate["ports"]}
    for address in [listen["address"] for listen in config["listen"]] + [config["admin"]["address"]]:
        if int(address.rsplit(":", 1)[1]) not in ports:
            yield f"{address} is no containerPort"
    # A sidecar ends after the application, whose preStop is the one that counts.
    pause = max(container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
                for container in spec["containers"])
    if pause < 5:
        yield "preStop leaves load balancers no time"
    drain = int(config.get("limits", {}).get("drain_timeout", "30s").removesuffix("s"))
    if pause + drain >= spec.get("terminationGracePeriodSeconds", 30):
        yield f"terminationGracePeriodSeconds is not more than preStop {pause} s and drain_timeout {drain} s"
    mounted = {"gate.yaml"}
    for source in sources(spec):
        mounted |= {item["path"] for item in source.get("secret", {}).get("items", [])}
    for path in files(config):
        if path not in mounted:
            yield f"gate.yaml names {path}, which is not mounted"


def probe_problems(gate):
    ports = {port["name"] for port in gate["ports"]}
    for probe, path in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]:
        asked = gate.get(probe, {}).get("httpGet", {})
        if asked.get("path") != path:
            yield f"{probe} does not ask {path}"
        elif asked["port"] not in ports:
            yield f"{probe} asks port {asked['port']}, which it has not"


def configs_of(bundle, spec):
    for source in sources(spec):
        config_map = find(bundle, "ConfigMap", source.get("configMap", {}).get("name"))
        if config_map and "gate.yaml" in config_map["data"]:
            yield yaml.safe_load(config_map["data"]["gate.yaml"])


def gate_configs(bundle):
    return [item["data"]["gate.yaml"] for item in bundle if item["kind"] == "ConfigMap" and "gate.yaml" in item["data"]]


def files(node, key=""):
    """Relative paths of files in a configuration."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from files(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from files(value)
    elif key.endswith("_file") or key in {"certificate", "key", "ca", "client_ca", "client_certificate", "client_key"}:
        yield node


def find(bundle, kind, name):
    return next((item for item in bundle if item["kind"] == kind and item["metadata"]["name"] == name), None)


def selects(selector, labels):
    wanted = selector.get("matchLabels", selector)
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())


def selected(selector, pods):
    return [spec for _, labels, spec in pods if selects(selector, labels)]


def service(bundle, document, pods):
    found = selected(document["spec"]["selector"], pods)
    if not found:
        yield "selects no pod"
        return
    names = {port.get("name") for spec in found for container in containers(spec) for port in container.get("ports", [])}
    for port in document["spec"]["ports"]:
        if port["targetPort"] not in names:
            yield f"targets port {port['targetPort']}, which no container has"


def service_monitor(bundle, document, pods):
    found = [item for item in bundle if item["kind"] == "Service"
             and selects(document["spec"]["selector"], item["metadata"].get("labels", {}))]
    if len(found) != 1:
        yield f"selects {len(found)} Services; two would count twice"
    names = {port["name"] for item in found for port in item["spec"]["ports"]}
    for endpoint in document["spec"]["endpoints"]:
        if endpoint["port"] not in names:
            yield f"port {endpoint['port']} is none of the Service's"


def budget(bundle, document, pods):
    if not selected(document["spec"]["selector"], pods):
        yield "selects no pod"


def autoscaler(bundle, document, pods):
    target = document["spec"]["scaleTargetRef"]
    deployment = find(bundle, target["kind"], target["name"])
    if not deployment:
        yield f"{target['kind']} {target['name']} is missing"
    elif "replicas" in deployment["spec"]:
        yield "the Deployment sets replicas too"


def network_policy(bundle, document, pods):
    if pods and not selected(document["spec"]["podSelector"], pods):
        yield "selects no pod"
    for rule in document["spec"].get("ingress", []) + document["spec"].get("egress", []):
        if not rule.get("ports"):
            yield "a rule without ports lets everything pass"


def certificate(bundle, document, pods):
    name = document["spec"]["secretName"]
    mounted = {source["secret"]["name"] for _, _, spec in pods for source in sources(spec) if "secret" in source}
    if name not in mounted:
        yield f"nobody mounts {name}; mounted are {sorted(mounted)}"


def role(bundle, document, pods):
    for rule in document["rules"]:
        if "secrets" in rule["resources"] and not rule.get("resourceNames"):
            yield "every secret of the namespace"
        if "*" in rule["verbs"] + rule["resources"]:
            yield "a star"
        for name in rule.get("resourceNames", []):
            if rule["resources"] == ["deployments"] and not find(bundle, "Deployment", name):
                yield f"Deployment {name} is missing"


def role_binding(bundle, document, pods):
    if not find(bundle, "Role", document["roleRef"]["name"]):
        yield f"Role {document['roleRef']['name']} is missing"
    for subject in document["subjects"]:
        if not find(bundle, "ServiceAccount", subject["name"]):
            yield f"ServiceAccount {subject['name']} is missing"


def rules(bundle, document, pods):
    if "DpopGateDown" not in str(document["spec"]["groups"]):
        yield "the alerts are missing"


REFERENCES = {
    "Service": service, "ServiceMonitor": service_monitor, "PodDisruptionBudget": budget,
    "HorizontalPodAutoscaler": autoscaler, "NetworkPolicy": network_policy, "Certificate": certificate, "Role": role,
    "RoleBinding": role_binding, "PrometheusRule": rules,
}
