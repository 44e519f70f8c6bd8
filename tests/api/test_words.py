"""Feeds, alerts and the page speak the languages of the site; what is stored stays as it is."""

from __future__ import annotations

from xml.etree import ElementTree

import httpx
import pytest

from api import cap
from api.server import create_app, open_site
from api.settings import Settings
from functions.hazards import KINDS

from .test_cap import SCHEMA, SITE, URL, make
from .test_openapi import fill

CAP = {"c": cap.NAMESPACE}


@pytest.fixture
async def client(tmp_path, database_url, make_event):
    kept = Settings(database_url=database_url, snapshot_url=str(tmp_path / "s"), languages="ko,en,ja", public_url=URL)
    async with open_site(kept) as site:
        await fill(site, make_event)
        transport = httpx.ASGITransport(create_app(site))
        async with httpx.AsyncClient(transport=transport, base_url="http://bongsu") as opened:
            yield opened


async def test_feeds_are_in_the_language_that_the_reader_prefers(client):
    for accepted, language, title, item in (
        ("ja-JP,ja;q=0.9", "ja", "ポンス警報", "火災 · Sinchon Market"),
        ("en", "en", "Bongsu alerts", "Fire · Sinchon Market"),
        ("fr", "ko", "봉수 경보", "화재 · Sinchon Market"),
    ):
        answer = await client.get("/feed.json", headers={"Accept-Language": accepted})
        feed = answer.json()
        assert (feed["language"], feed["title"], feed["items"][0]["title"]) == (language, title, item)
        assert "Accept-Language" in answer.headers["vary"]
        atom = await client.get("/feed.atom", headers={"Accept-Language": accepted})
        root = ElementTree.fromstring(atom.content)
        assert root.findtext("{*}title") == title and "Accept-Language" in atom.headers["vary"]
        # What was posted stays as it was.
        assert feed["items"][0]["_bongsu"]["caption"] == {"en": "Fire.", "ko": "화재."}
    assert feed["description"] == "카메라가 포착한 사고·화재·총기·흉기. 얼굴은 모자이크 처리됩니다."


async def test_page_gets_its_languages_and_their_words(client):
    assert 'name="bongsu-languages" content="ko,en,ja"' in (await client.get("/")).text
    answer = await client.get("/words/ja.ftl")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8" and "viewMap = 地図" in answer.text
    assert (await client.get("/words/xx.ftl")).status_code == 404
    assert (await client.get("/words/..%2f__init__.ftl")).status_code == 404
    fire = (await client.get("/hazards.json")).json()["hazards"][1]
    assert fire["title"] == {"en": "Fire", "ko": "화재", "ja": "火災"}


async def test_cap_alert_has_a_block_in_each_language():
    for review in (None, "acknowledged", "false_alarm"):
        incident = make()
        if review:
            from store.records import Review

            incident = make(review=Review(review, "kim", incident.last_seen, ""))
        document = cap.alert(
            incident, base=URL, site=SITE, quiet_s=120, status="Test", languages=("ja", "ko", "en")
        ).decode()
        SCHEMA.validate(document)
        infos = ElementTree.fromstring(document).findall("c:info", CAP)
        assert [info.findtext("c:language", namespaces=CAP) for info in infos] == ["ja", "ko-KR", "en-US"]
        assert infos[0].findtext("c:event", namespaces=CAP) == "火災"
        assert "確認" in infos[0].findtext("c:description", namespaces=CAP)


def test_hazard_without_words_in_a_language_has_its_english_ones(monkeypatch):
    from api import words

    monkeypatch.setitem(KINDS, "flood", KINDS["fire"])
    assert words.title_of("flood", "ja") == "Fire"


@pytest.mark.parametrize("given", ["", "xx", "en,xx"])
def test_language_without_a_catalogue_stops_the_start(given):
    with pytest.raises(ValueError, match="BONGSU_LANGUAGES must be some of en, ja, ko, separated by commas, got"):
        Settings(languages=given)
