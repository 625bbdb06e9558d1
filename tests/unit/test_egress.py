"""The proxy's settings become an environment, an apt file and a unit's environment file."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.llmhost.core.plugins.filter.egress_environment import FilterModule
from ansible_collections.llmhost.core.plugins.module_utils.service.egress import (
    BUNDLE,
    EgressError,
    Proxy,
    environment,
    environment_file,
    without_credentials,
)

PROXY = {"http": "http://proxy.example.com:3128", "no_proxy": "intranet.example.com, .example.org,10.0.0.0/8"}


def test_without_proxy_and_certificates_nothing_is_set() -> None:
    assert environment({}) == environment(None) == environment({"http": "", "https": None, "no_proxy": []}) == {}
    assert Proxy.from_settings({"no_proxy": ["a.example.com"]}).apt_configuration() == ""
    assert environment_file({}) == ""


def test_both_spellings_are_set_and_https_falls_back_to_http() -> None:
    values = environment(PROXY)
    assert {values[name] for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")} == {PROXY["http"]}
    assert values["NO_PROXY"] == "localhost,127.0.0.1,::1,intranet.example.com,.example.org,10.0.0.0/8"
    assert values["NO_PROXY"] == values["no_proxy"]


def test_https_alone_sets_no_http_proxy() -> None:
    assert "HTTP_PROXY" not in environment({"https": "https://proxy.example.com"})


def test_a_list_of_direct_hosts_equals_the_text_that_people_copy() -> None:
    hosts = ["intranet.example.com", ".example.org", "10.0.0.0/8"]
    assert environment({**PROXY, "no_proxy": hosts}) == environment(PROXY)


def test_certificates_point_every_client_to_the_system_bundle() -> None:
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
    assert environment({}, ["company.pem"]) == dict.fromkeys(names, BUNDLE)


def test_apt_reaches_exact_hosts_directly() -> None:
    text = Proxy.from_settings(PROXY).apt_configuration()
    assert 'Acquire::http::Proxy "http://proxy.example.com:3128";' in text
    assert 'Acquire::https::Proxy::intranet.example.com "DIRECT";' in text
    assert "10.0.0.0" not in text
    assert ".example.org" not in text


def test_environment_file_quotes_its_values() -> None:
    assert environment_file({"B": "2", "A": "1,2"}).splitlines()[1:] == ['A="1,2"', 'B="2"']


@pytest.mark.parametrize(
    "address",
    [
        "proxy.example.com:3128",
        "socks5://proxy:1",
        "http://",
        "http://proxy:port",
        'http://p";evil "x',
        "http://a b",
        3128,
        "http://[::1",
    ],
)
def test_an_unusable_address_is_refused(address: object) -> None:
    with pytest.raises(EgressError, match=r"llmhost_proxy\.https"):
        environment({"https": address})


def test_an_error_hides_the_password() -> None:
    with pytest.raises(EgressError) as failure:
        environment({"http": "ftp://user:hunter@2@proxy:21"})
    assert "hunter" not in str(failure.value)
    assert without_credentials("http://user:secret@proxy:3128") == "http://***@proxy:3128"


def test_credentials_are_noticed() -> None:
    assert Proxy.from_settings({"http": "http://user:secret@proxy:3128"}).has_credentials
    assert not Proxy.from_settings(PROXY).has_credentials


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(EgressError, match="'HTTP'"):
        environment({"HTTP": "http://proxy:1"})


def test_an_unsafe_direct_host_is_refused() -> None:
    with pytest.raises(EgressError, match="no_proxy"):
        environment({"http": "http://proxy:1", "no_proxy": ['a"b']})


def test_filter_fails_with_the_same_message() -> None:
    egress_environment = FilterModule().filters()["egress_environment"]
    assert egress_environment(PROXY) == environment(PROXY)
    with pytest.raises(AnsibleFilterError, match="llmhost_proxy"):
        egress_environment({"http": "nonsense"})
