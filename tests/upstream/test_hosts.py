"""Which hosts a URL that came with a request may lead to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from yarl import URL

from deployments.upstream.hosts import Hosts, host_pattern, is_numeric, written_address

PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.0.192", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0",
    "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    "168.63.129.16", "192.88.99.1", "fec0::1", "5f00::1", "100::1", "100:0:0:1::1", "::7f00:1", "::ffff:0:7f00:1", "3fff::1",
    "2001::1", "2001:0:7f00:1::", "2001:2::1", "2001:db8::1", "64:ff9b:1::808:808", "64:ff9b::a83f:8110", "2002:a83f:8110::",
]  # fmt: skip
EVERYWHERE = [
    "8.8.8.8", "1.1.1.1", "168.63.129.17", "2606:4700::1111", "2a00:1450:4001::1", "2400:cb00::1", "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public_are_refused_unless_listed(address: str):
    assert not Hosts().allow(ip_address(address))
    assert not Hosts(["*"]).allow(ip_address(address))


@pytest.mark.parametrize("address", EVERYWHERE)
def test_public_addresses_are_allowed_where_nothing_is_listed(address: str):
    assert Hosts().allow(ip_address(address))
    assert Hosts(["*"]).allow(ip_address(address))
    assert not Hosts(["10.0.0.0/8"]).allow(ip_address(address))


def test_networks_and_addresses_may_be_listed():
    hosts = Hosts(["10.0.0.0/8", "192.168.1.7", "[fd00::1]"])
    assert all(hosts.allow(ip_address(each)) for each in ("10.1.2.3", "192.168.1.7", "fd00::1", "::ffff:10.0.0.1"))
    assert not any(hosts.allow(ip_address(each)) for each in ("192.168.1.8", "fd00::2", "127.0.0.1"))


def test_names_may_be_listed_with_all_below_them():
    hosts = Hosts(["API.example.com", "*.internal."])
    assert all(hosts.name(each) for each in ("api.example.com", "API.EXAMPLE.COM.", "a.internal", "a.b.internal"))
    assert not any(hosts.name(each) for each in ("example.com", "x.api.example.com", "internal", "evilinternal"))


@pytest.mark.parametrize(
    ("listed", "called"),
    [
        ("münchen.de", "xn--mnchen-3ya.de"),
        ("*.MÜNCHEN.de.", "api.xn--mnchen-3ya.de"),
        ("straße.de", "xn--strae-oqa.de"),
    ],
)
def test_a_name_beyond_ascii_is_listed_as_it_is_read(listed: str, called: str):
    assert host_pattern(listed) == listed
    assert URL(f"http://{called}").raw_host == called
    assert Hosts([listed]).name(called)
    assert not Hosts([listed]).name("munchen.de")


@pytest.mark.parametrize(
    "host", ["2130706433", "127.1", "017700000001", "0177.0.0.1", "127.0.0.1", "::1", "::ffff:7f00:1"]
)
def test_every_spelling_of_an_address_that_a_system_takes_is_seen_through(host: str):
    address = written_address(host)
    assert address is not None
    assert is_numeric(host)
    assert not Hosts().allow(address)


@pytest.mark.parametrize("host", ["127.0.0.1.1", "9" * 40, "::g", "１２７.0.0.1"])
def test_what_only_looks_like_an_address_is_none(host: str):
    assert is_numeric(host)
    assert written_address(host) is None


@pytest.mark.parametrize("text", ["a.com", "*.a.com", "*", "localhost", "10.0.0.0/8", "::1", "[::1]", "10.0.0.1"])
def test_hosts_are_written_without_scheme_port_or_path(text: str):
    assert host_pattern(text) == text


@pytest.mark.parametrize(
    "text", ["", "*.", "https://a.com", "a.com:80", "a.com/x", "a*.com", "a b", "10.0.0", "10.0.0.0/99", "ü" * 64]
)
def test_what_is_no_host_says_what_to_write(text: str):
    with pytest.raises(ValueError, match="write api"):
        host_pattern(text)
