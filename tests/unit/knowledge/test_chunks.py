"""Where a text is cut."""

from securecontext.knowledge.chunks import CHUNK_TOKENS, Chunk, estimated_tokens, split


def test_a_short_text_is_one_chunk_without_white_space_around_it():
    assert split("\n\n  One thought.\n") == [Chunk(0, 4, "One thought.")]


def test_nothing_is_no_chunk():
    assert split("") == []
    assert split(" \n\t\n") == []


def test_headings_begin_chunks_once_there_is_something_before_them():
    section = "A sentence of some length about the store.\n" * 8
    found = split(f"# One\n\n{section}\n# Two\n\n{section}\n# Three\n\n{section}")
    assert [chunk.text.split("\n")[0] for chunk in found] == ["# One", "# Two", "# Three"]


def test_a_fenced_block_that_fits_stays_whole():
    fence = "```python\n" + "value = 1\n\n# not a heading\n" * 20 + "```"
    found = split("Intro. " * 60 + "\n\n" + fence + "\n\n" + "Outro. " * 60)
    assert sum(fence in chunk.text for chunk in found) == 1


def test_a_long_paragraph_is_cut_after_sentences():
    sentence = "The writer commits a batch and then answers every caller. "
    found = split(sentence * 60)
    assert len(found) > 3
    assert all(chunk.text.endswith("caller.") for chunk in found)


def test_a_word_without_end_is_cut_hard():
    found = split("x" * 2001)
    assert [len(chunk.text) for chunk in found] == [800, 800, 401]


def test_cjk_characters_count_as_tokens():
    assert estimated_tokens("漢字") == 2
    assert all(len(chunk.text) <= CHUNK_TOKENS for chunk in split("検索の話。" * 200))
