"""The service's name server: PowerDNS with one record that hands out the client link of the first ready gateway."""

from __future__ import annotations

from harness.model.topology import CLIENT, DNS_POLICY, SERVICE_NAME, Topology

#: How long answers may be kept with the defect dns_long_ttl.
_DEFECT_TTL_S = 60


def files(topology: Topology, config_path: str) -> dict[str, str]:
    """pdns.conf, named.conf and service.zone as text. ``config_path``: where the server finds them."""
    label, zone_name = SERVICE_NAME.split(".", 1)
    return {
        "pdns.conf": _server(topology, config_path),
        "named.conf": f'zone "{zone_name}" {{ type master; file "{config_path}/service.zone"; }};\n',
        "service.zone": _zone(topology, label, zone_name),
    }


def _zone(topology: Topology, label: str, zone_name: str) -> str:
    groups = ",".join(
        f"{{['{topology.link_between(CLIENT, gateway).listen_address}']='{_readiness(topology, gateway)}'}}"
        for gateway in topology.gateways
    )
    # The first group with a ready gateway wins. Before the first check and with none ready the answer is any of them.
    options = f"{{interval={DNS_POLICY.check_interval_s},timeout={DNS_POLICY.check_timeout_s}}}"
    record = f'LUA A "ifurlextup({{{groups}}}, {options})"'
    if "dns_health_checks_off" in topology.defects:
        record = f"A {topology.link_between(CLIENT, topology.gateways[0]).listen_address}"
    ttl_s = _DEFECT_TTL_S if "dns_long_ttl" in topology.defects else DNS_POLICY.ttl_s
    return (
        f"$ORIGIN {zone_name}.\n"
        f"$TTL {ttl_s}\n"
        f"@ IN SOA ns.{zone_name}. hostmaster.{zone_name}. 1 60 60 3600 {ttl_s}\n"
        f"@ IN NS ns.{zone_name}.\n"
        f"ns IN A {topology.component('dns').address}\n"
        f"{label} {ttl_s} IN {record}\n"
    )


def _readiness(topology: Topology, gateway: str) -> str:
    component = topology.component(gateway)
    # Asked directly, not over the client's link: a fault on that link is for users to feel, not for DNS to hide.
    return f"http://{topology.seen_by_components(gateway)}:{component.ports['http']}{component.readiness_path}"


def _server(topology: Topology, config_path: str) -> str:
    component = topology.component("dns")
    address = "0.0.0.0" if topology.runtime == "docker" else component.address
    settings = {
        "launch": "bind",
        "bind-config": f"{config_path}/named.conf",
        "bind-check-interval": 0,
        "local-address": address,
        "local-port": component.ports["dns"],
        "enable-lua-records": "yes",
        "lua-health-checks-interval": DNS_POLICY.check_interval_s,
        "lua-health-checks-expire-delay": 86400,  # a name nobody asks for must stay checked: answers are ready at once
        "cache-ttl": 0,
        "query-cache-ttl": 0,
        "negquery-cache-ttl": 0,
        "zone-cache-refresh-interval": 0,
        "receiver-threads": 1,
        "distributor-threads": 1,
        "consistent-backends": "yes",
        "security-poll-suffix": "",  # does not call home
        "version-string": "anonymous",
        "webserver": "no",
        "api": "no",
        "daemon": "no",
        "guardian": "no",
        "write-pid": "no",
        "disable-syslog": "yes",
        "loglevel": 4,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())
