"""Keeps the registry over gRPC, by stubs that grpcio-tools makes of the file that the server gives.

usage: registry_grpc.py PORT READER OPERATOR   (tokens; started by the test of the same name)
"""

import json
import pathlib
import sys
import tempfile
import time
import urllib.request

import grpc
import grpc_tools
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status
from grpc_tools import protoc

PORT, READER, OPERATOR = sys.argv[1:]
URL = f"http://127.0.0.1:{PORT}"
FOLDER = tempfile.TemporaryDirectory()
DESCRIPTOR = f"{FOLDER.name}/registry.desc"


def fetch(path, token=None):
    request = urllib.request.Request(f"{URL}{path}")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()


def generate():
    """The stubs: this is what a user runs on the command line."""
    (pathlib.Path(FOLDER.name) / "registry.proto").write_text(fetch("/api/v1/registry.proto"))
    included = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    arguments = [f"-I{FOLDER.name}", f"-I{included}", f"--python_out={FOLDER.name}"]
    arguments += [f"--grpc_python_out={FOLDER.name}", f"--descriptor_set_out={DESCRIPTOR}"]
    assert protoc.main(["protoc", *arguments, "registry.proto"]) == 0
    sys.path.insert(0, FOLDER.name)


generate()
import registry_pb2 as pb  # noqa: E402
import registry_pb2_grpc  # noqa: E402

CHANNEL = grpc.insecure_channel(f"127.0.0.1:{PORT}")
STUB = registry_pb2_grpc.RegistryStub(CHANNEL)


def call(method, request, token=OPERATOR):
    metadata = [("authorization", f"Bearer {token}")] if token else []
    return getattr(STUB, method)(request, metadata=metadata, timeout=60)


def refused(code, method, request, *words, token=OPERATOR):
    try:
        call(method, request, token)
    except grpc.RpcError as error:
        assert error.code() == code, (method, error.code(), error.details())
        for word in words:
            assert word in error.details(), (word, error.details())
        return error
    raise AssertionError(f"{method} was not refused")


def fields_of(error):
    """The fields that google.rpc.BadRequest names."""
    request = error_details_pb2.BadRequest()
    [detail] = rpc_status.from_call(error).details
    assert detail.Unpack(request)
    return [violation.field for violation in request.field_violations]


def site(id, **fields):
    return pb.Site(id=id, name=id, location="a fjord", time_zone="Europe/Oslo", **fields)


def rights():
    north = pb.CreateSiteRequest(site=site("north"))
    unauthenticated = grpc.StatusCode.UNAUTHENTICATED
    refused(unauthenticated, "ListSites", pb.ListSitesRequest(), token=None)
    refused(unauthenticated, "ListSites", pb.ListSitesRequest(), token="no-token-of-anybody-here")
    refused(unauthenticated, "CreateSite", north, "operator", token=READER)
    assert len(call("ListSites", pb.ListSitesRequest(), READER).sites) == 0


def one_site():
    wrong = pb.Site(id="north", name="", latitude_deg=91)
    error = refused(
        grpc.StatusCode.INVALID_ARGUMENT,
        "CreateSite",
        pb.CreateSiteRequest(site=wrong),
        "field `latitude_deg`: 91 is outside -90 to 90",
        "missing field `location`",
    )
    assert fields_of(error) == ["name", "location", "latitude_deg", "time_zone"], fields_of(error)
    wrong = pb.Site(id="north", name="x", location="y", time_zone="UTC", connection_kw=float("nan"))
    error = refused(
        grpc.StatusCode.INVALID_ARGUMENT, "CreateSite", pb.CreateSiteRequest(site=wrong)
    )
    assert fields_of(error) == ["connection_kw"], error.details()
    made = call("CreateSite", pb.CreateSiteRequest(site=site("north")))
    assert (made.id, made.version, made.name) == ("north", 1, "north"), made
    assert made.HasField("updated_at") and made.updated_by, made
    assert not made.HasField("connection_kw"), made
    again = pb.CreateSiteRequest(site=site("north"))
    refused(grpc.StatusCode.ALREADY_EXISTS, "CreateSite", again)
    read = call("GetSite", pb.GetSiteRequest(id="north"), READER)
    assert read == made
    # What was read is changed and sent back; what is told is not taken.
    read.connection_kw = 900
    changed = call("UpdateSite", pb.UpdateSiteRequest(site=read, expected_version=read.version))
    assert (changed.version, changed.connection_kw) == (2, 900.0), changed
    stale = pb.UpdateSiteRequest(site=read, expected_version=1)
    refused(grpc.StatusCode.ABORTED, "UpdateSite", stale, "version 2")
    unseen = pb.UpdateSiteRequest(site=read)
    refused(grpc.StatusCode.FAILED_PRECONDITION, "UpdateSite", unseen, "expected_version")
    as_rest = json.loads(fetch("/api/v1/sites/north", READER))
    assert (as_rest["version"], as_rest["connection_kw"]) == (2, 900.0), as_rest
    then = pb.GetSiteRequest(id="north", as_of=made.updated_at)
    assert in_the_past(then) == made
    refused(grpc.StatusCode.NOT_FOUND, "GetSite", pb.GetSiteRequest(id="south"))


def in_the_past(request):
    """What was registered then, once the tables say so."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return call("GetSite", request, READER)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error.details()
            assert time.monotonic() < deadline, error.details()
            time.sleep(0.1)


def machine(number):
    return pb.Machine(
        id=f"m{number}",
        site="north",
        model="S21" if number % 2 else "M60",
        serial_number=str(number),
        rated_power_w=3500.5,
        commissioned_at={"seconds": 1_772_362_800, "nanos": 250_000_000},
    )


def pages():
    nowhere = machine(0)
    nowhere.site = "nowhere"
    error = refused(
        grpc.StatusCode.INVALID_ARGUMENT, "CreateMachine", pb.CreateMachineRequest(machine=nowhere)
    )
    assert fields_of(error) == ["site"], error.details()
    for number in range(7):
        call("CreateMachine", pb.CreateMachineRequest(machine=machine(number)))
    found, request = [], pb.ListMachinesRequest(limit=3, filter={"site": "north"})
    while True:
        page = call("ListMachines", request, READER)
        found += page.machines
        if not page.next:
            break
        request.after = page.next
    assert [one.id for one in found] == [f"m{number}" for number in range(7)], found
    assert found[1].commissioned_at.nanos == 250_000_000 and found[1].rated_power_w == 3500.5
    odd = pb.ListMachinesRequest(filter={"model": "S21", "rated_power_w": 3500.5})
    assert [one.id for one in call("ListMachines", odd, READER).machines] == ["m1", "m3", "m5"]
    none = pb.ListMachinesRequest(filter={"pool": "p"})
    assert len(call("ListMachines", none, READER).machines) == 0
    many = pb.ListMachinesRequest(limit=5000)
    refused(grpc.StatusCode.INVALID_ARGUMENT, "ListMachines", many, "limit is 5000")


def ends():
    still_named = pb.DeleteSiteRequest(id="north", expected_version=2)
    refused(grpc.StatusCode.FAILED_PRECONDITION, "DeleteSite", still_named, "machines/m0")
    for number in range(7):
        gone = pb.DeleteMachineRequest(id=f"m{number}", expected_version=1)
        assert call("DeleteMachine", gone).serial_number == str(number)
    call("DeleteSite", pb.DeleteSiteRequest(id="north", expected_version=2))
    refused(grpc.StatusCode.NOT_FOUND, "GetSite", pb.GetSiteRequest(id="north"))


def reflects():
    """What reflection describes is what protoc reads in the file."""
    database = ProtoReflectionDescriptorDatabase(CHANNEL)
    assert list(database.get_services()) == ["headframe.registry.v1.Registry"]
    told = database.FindFileContainingSymbol("headframe.registry.v1.Registry")
    files = descriptor_pb2.FileDescriptorSet()
    files.ParseFromString(pathlib.Path(DESCRIPTOR).read_bytes())
    [read] = files.file
    for message in read.message_type:
        for field in message.field:
            field.ClearField("json_name")
    assert told == read
    times = database.FindFileByName("google/protobuf/timestamp.proto")
    assert [field.name for field in times.message_type[0].field] == ["seconds", "nanos"]


rights()
one_site()
pages()
ends()
reflects()
print("every step passed")
