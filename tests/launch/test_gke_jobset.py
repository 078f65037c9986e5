"""launch/gke_jobset.yaml: what it becomes, and that its numbers agree."""

import math
import os
import re
import shutil
import string
import subprocess

import pytest
import yaml
from launching import LAUNCH

from jaxclip.training.preemption import EXIT_CODE
from jaxclip.training.watch import LOST

TEXT = (LAUNCH / "gke_jobset.yaml").read_text()
VALUES = {
    "NAME": "semclip",
    "IMAGE": "registry/jaxclip",
    "BUCKET": "my-bucket",
    "TPU": "tpu-v5-lite-podslice",
    "TOPOLOGY": "4x4",
    "HOSTS": "4",
    "SLICES": "2",
    "MODULE": "jaxclip.evaluate",
    "TRAIN_FLAGS": "--config=configs/semclip.py --config.title='two words' --config.trainable=\"('a: b', '#c')\"",
}


@pytest.fixture(scope="module")
def jobset() -> dict:
    return yaml.safe_load(string.Template(TEXT).substitute(VALUES))


@pytest.fixture(scope="module")
def job(jobset) -> dict:
    [replicated] = jobset["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def test_header_names_every_variable():
    header = TEXT.partition("apiVersion")[0]
    exported = set(re.findall(r"([A-Z_]+)=", header))
    assert set(string.Template(TEXT).get_identifiers()) == set(VALUES)
    assert set(VALUES) <= exported


@pytest.mark.skipif(not shutil.which("envsubst"), reason="no envsubst (gettext)")
def test_envsubst_gives_the_same(jobset):
    result = subprocess.run(["envsubst"], input=TEXT, env=os.environ | VALUES, capture_output=True, text=True)
    assert yaml.safe_load(result.stdout) == jobset


def test_every_chip_of_the_slices_has_a_process(jobset, job):
    [replicated] = jobset["spec"]["replicatedJobs"]
    [container] = job["template"]["spec"]["containers"]
    selector = job["template"]["spec"]["nodeSelector"]
    assert replicated["replicas"] == 2
    assert job["parallelism"] == job["completions"] == 4
    assert container["resources"]["requests"] == container["resources"]["limits"] == {"google.com/tpu": 4}
    assert selector == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    assert job["parallelism"] * 4 == math.prod(map(int, selector["cloud.google.com/gke-tpu-topology"].split("x")))


def test_table_of_hosts_is_right(job):
    [container] = job["template"]["spec"]["containers"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    topologies = re.search(r"#\s+TOPOLOGY +(\d.*)", TEXT).group(1).split()
    hosts = re.search(r"#\s+HOSTS +(\d.*)", TEXT).group(1).split()
    assert [math.prod(map(int, topology.split("x"))) for topology in topologies] == [int(n) * chips for n in hosts]


def test_saved_runs_start_again_without_being_counted(jobset, job):
    policy = jobset["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 3
    [rule] = policy["rules"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    codes, disruption = job["podFailurePolicy"]["rules"]
    [container] = job["template"]["spec"]["containers"]
    assert codes["action"] == disruption["action"] == "FailJob"
    assert codes["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [LOST, EXIT_CODE]}
    # Kubernetes takes podFailurePolicy with this restart policy only, and indexed jobs for stable names.
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert (job["backoffLimit"], job["completionMode"]) == (0, "Indexed")


def test_flags_with_quotes_arrive_as_one_string(job):
    [container] = job["template"]["spec"]["containers"]
    assert {"name": "TRAIN_FLAGS", "value": VALUES["TRAIN_FLAGS"]} in container["env"]
    assert {"name": "MODULE", "value": "jaxclip.evaluate"} in container["env"]
    assert container["command"] == ["bash", "launch/tpu_worker.sh", "run"]


@pytest.mark.skipif(not shutil.which("envsubst"), reason="no envsubst (gettext)")
def test_without_a_module_it_is_an_empty_string():
    """launch/tpu_worker.sh takes jaxclip.main then; null would be no valid value."""
    values = {name: value for name, value in VALUES.items() if name != "MODULE"}
    environment = {name: value for name, value in os.environ.items() if name != "MODULE"} | values
    result = subprocess.run(["envsubst"], input=TEXT, env=environment, capture_output=True, text=True)
    [replicated] = yaml.safe_load(result.stdout)["spec"]["replicatedJobs"]
    [container] = replicated["template"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "MODULE", "value": ""} in container["env"]


def test_runs_are_in_the_bucket(job):
    pod = job["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["runs"] == f"{pod['containers'][0]['workingDir']}/runs"
    assert volumes["runs"]["csi"]["volumeAttributes"]["bucketName"] == "my-bucket"
    assert job["template"]["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}


def test_job_is_one_that_kubernetes_knows(job):
    """The template of the job against Kubernetes' own schema; needs `pip install kubernetes-validate` (100 MB)."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "slice"}, "spec": job}
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
