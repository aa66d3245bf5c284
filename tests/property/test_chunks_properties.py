"""No character is lost, repeated or moved, and no chunk is too large."""

from hypothesis import given
from hypothesis import strategies as st

from securecontext.knowledge.chunks import CHUNK_TOKENS, estimated_tokens, split

pieces = st.sampled_from(
    [
        "word ",
        "a sentence. ",
        "\n",
        "\n\n",
        "# Heading\n",
        "```\n",
        "~~~\n",
        "x" * 300,
        "漢" * 90,
        "\t",
        "é",
        "\r\n",
        "\x85",
    ]
)
texts = st.lists(pieces, max_size=120).map("".join) | st.text(alphabet=st.characters(), max_size=400)


@given(texts)
def test_chunks_cover_every_visible_character_exactly_once(text):
    position = 0
    for number, chunk in enumerate(split(text)):
        assert chunk.position == number
        assert text[chunk.start : chunk.start + len(chunk.text)] == chunk.text
        assert not text[position : chunk.start].strip()
        assert chunk.text == chunk.text.strip() != ""
        position = chunk.start + len(chunk.text)
    assert not text[position:].strip()


@given(texts)
def test_no_chunk_is_larger_than_its_limit(text):
    assert all(estimated_tokens(chunk.text) <= CHUNK_TOKENS for chunk in split(text))
