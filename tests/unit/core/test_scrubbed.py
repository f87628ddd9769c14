"""What others wrote may hold secrets: none is shown, and what holds none is shown as it is."""

from __future__ import annotations

import pytest

from monitor.core.said import clean, got
from monitor.core.secret import scrubbed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redirect to http://me:s3cret@h/x", "redirect to http://<secret>@h/x"),
        ("https://s3cret@h/x", "https://<secret>@h/x"),
        ("http://me:s3/cret@h/x", "http://<secret>@h/x"),
        ("//me:123@h", "//<secret>@h"),
        ("redis://:s3cret@h:6379", "redis://<secret>@h:6379"),
        ("next=http%3A%2F%2Fme%3As3cret%40h", "next=http%3A%2F%2F<secret>%40h"),
        ("http://h/?token=s3cret&page=2", "http://h/?token=<secret>&page=2"),
        ("http://h/?to%6Ben=s3cret#x", "http://h/?to%6Ben=<secret>#x"),
        ("/p;jsessionid=s3cret?a=1", "/p;jsessionid=<secret>"),
        ("?X-Amz-Credential=s3cret&X-Amz-Signature=s3cret", "?X-Amz-Credential=<secret>&X-Amz-Signature=<secret>"),
        ("?sig=s3cret&access_token=s3cret&api-key=s3cret", "?sig=<secret>&access_token=<secret>&api-key=<secret>"),
        ('{"password": "s3 cret", "n": 1}', '{"password": "<secret>", "n": 1}'),
        ('{"token":123}', '{"token":<secret>}'),
        ("pwd='s3cret'", "pwd='<secret>'"),
        ('{"password":"it\'s s3cret & \\" more","n":1}', '{"password":"<secret>","n":1}'),
        ('"{\\"token\\": \\"s3cret\\"}"', '"{\\"token\\": \\"<secret>"'),
        ("{&quot;token&quot;:&quot;s3cret&quot;}", "{&quot;token&quot;:&quot;<secret>&quot;}"),
        ("%22token%22=s3cret", "%22token%22=<secret>"),
        ("api_key: s3cret", "api_key: <secret>"),
        ("Authorization: Digest a=s3cret\r\nX: 1", "Authorization: <secret>\r\nX: 1"),
        ("cookie: a=s3cret; b=s3cret", "cookie: <secret>"),
        ("url=http://h/?token=s3cret", "url=http://h/?token=<secret>"),
        ("X: password=s3cret", "X: password=<secret>"),
        ("a: b: secret: s3cret", "a: b: secret: <secret>"),
        ("next=%2Fx%3Fa%3D1%26token%3Ds3cret%26b%3D2&c=3", "next=%2Fx%3Fa%3D1%26token%3D<secret>%26b%3D2&c=3"),
        ("authorization=Bearer s3cret", "authorization=<secret> <secret>"),
        ("PHPSESSID=s3cret AccountKey=s3cret", "PHPSESSID=<secret> AccountKey=<secret>"),
        ('{"secrets": ["s3cret"]}', '{"secrets": ["<secret>"]}'),
        ("'token' => 's3cret'", "'token' => '<secret>'"),
        ("refresh_token:s3cret DB_PASSWORD:s3cret", "refresh_token:<secret> DB_PASSWORD:<secret>"),
        ("not Bearer s3cret, but Basic bWU6czNjcmV0", "not Bearer <secret>, but Basic <secret>"),
    ],
)  # fmt: skip
def test_secrets_are_replaced(text: str, shown: str):
    assert scrubbed(text) == shown
    assert scrubbed(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://token:8080/x does not exist",
        "https://h/@joe",
        "http://h:80/@x",
        "author=Joe, monkey=3",
        "image auth:latest, tcp://secret:80",
        'WWW-Authenticate: Basic realm="x"',
        "Basic authentication required",
        "Bearer token missing",
        "header authorization does not match /^2/",
        "status code=500",
    ],
)
def test_what_holds_no_secret_is_shown_as_it_is(text: str):
    assert scrubbed(text) == text


def test_no_secret_is_cut_in_two_before_it_is_known():
    assert "s3cret" not in got(b"x" * 50 + b" http://s3cret" + b"3" * 300 + b":pw@host/")
    assert "s3cret" not in clean("x" * 280 + " http://me:s3cret" + "3" * 300 + "@host/")


@pytest.mark.parametrize(
    "piece", ["a", "//a:", "%2f%2f", "token", "token ", "cookie:", "Basic ", "bearer ", "=", "a=", ' "', "@//", "a%3D", "token%3D", "x: "]
)
def test_hostile_texts_are_read_in_linear_time(piece: str):
    assert scrubbed(piece * 1_000_000)  # hours otherwise
