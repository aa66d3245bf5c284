"""The archive for people: list, show, forget."""

from tests.house_case import AGENT, PERSON

MARK = "quetzal-umbrella"


def index(house, source, content):
    return house.do("zc_index", source=source, content=content)["id"]


def test_list_shows_texts_and_summaries_and_show_prints_one_whole(house):
    assert house.ask("archive.list", who=PERSON).text == "The archive of this project is empty."
    text = "line\n" * 3_000
    index(house, "a.md", text)
    house.do("zc_summarize_session", summary="done")
    listed = house.do("archive.list", PERSON)["documents"]
    assert [(d["kind"], d["characters"], d["trust"]) for d in listed] == [
        ("text", len(text), "agent"),
        ("summary", 4, "agent"),
    ]
    for name in ("a.md", listed[0]["id"]):
        assert house.ask("archive.show", {"document": name}, who=PERSON).text == text


def test_a_forgotten_document_leaves_search_recall_and_every_byte_on_disk(house):
    index(house, "a.md", f"the {MARK} plan")
    kept = index(house, "b.md", "the other plan")
    summary = house.do("zc_summarize_session", summary=f"{MARK} was decided")["id"]
    assert house.do("archive.forget", PERSON, document="a.md")["source"] == "a.md"
    assert house.do("archive.forget", PERSON, document=summary)["id"] == summary
    assert [hit["id"] for hit in house.search(f"{MARK} plan")] == [kept]
    assert MARK not in house.recall()
    assert MARK.encode() not in house.bytes_on_disk()
    assert b"umbrella" not in house.bytes_on_disk()
    assert house.do("audit.verify", PERSON)["status"] == "OK"


def test_a_name_that_is_none_or_names_several_is_refused(house):
    assert house.refused("archive.show", PERSON, document="a.md") == "no_such_document"
    for name in ("d", "d0", "d99", "d" + "9" * 40, "d²", "m1", "1"):
        assert house.refused("archive.forget", PERSON, document=name) == "no_such_document"
    summary = house.do("zc_summarize_session", summary="done")
    index(house, summary["source"], "a text under the same source")
    answer = house.ask("archive.forget", {"document": summary["source"]}, who=PERSON)
    assert answer.error is not None
    assert (answer.error.code, summary["id"] in answer.error.hint) == ("ambiguous_document", True)


def test_a_source_that_looks_like_an_id_is_meant_first(house):
    first = index(house, "other", "one")
    index(house, first, "two")
    assert house.ask("archive.show", {"document": first}, who=PERSON).text == "two"


def test_agents_may_neither_list_nor_forget_documents(house):
    index(house, "a.md", "text")
    for name, given in (("list", {}), ("show", {"document": "a.md"}), ("forget", {"document": "a.md"})):
        assert house.refused(f"archive.{name}", AGENT, **given) == "not_permitted"
    assert len(house.do("archive.list", PERSON)["documents"]) == 1
