"""Dockerfiles are read as their reference says: lines, words, variables, here-documents, stages, settings."""

from __future__ import annotations

from typing import Any

import pytest

from kubelet.images.building import ignore, plan
from kubelet.images.building.dockerfile import Dockerfile, parse
from kubelet.images.building.errors import BuildError
from kubelet.images.building.expand import expand, split
from kubelet.images.building.settings import SETTINGS
from kubelet.images.building.state import State, scratch
from kubelet.images.manifest import Platform

PLATFORM = Platform("linux", "amd64")
VARIABLES = {"a": "one", "empty": "", "path": "/usr/local/lib.tar.gz", "two_words": "x y"}


def test_lines_are_joined_and_comments_between_them_are_not_part_of_it() -> None:
    text = "# a comment\nFROM x\nRUN one && \\\n  # not this\n\n  two \\\n  three\n\nCMD sh\n"
    found = parse(text).instructions
    assert [(entry.name, entry.line) for entry in found] == [("FROM", 2), ("RUN", 3), ("CMD", 9)]
    assert found[1].text == "one &&   two   three"


def test_flags_and_the_json_form_are_told_from_the_rest() -> None:
    [copy, run, shell] = parse('COPY --from=x --link a b\nRUN ["a", "b c"]\nRUN [ -f x ] || y').instructions
    assert copy.flags == [("from", "x"), ("link", "true")] and copy.text == "a b"
    assert run.json == ["a", "b c"] and shell.json is None and shell.text == "[ -f x ] || y"


def test_another_escape_character_is_taken_from_the_directive() -> None:
    found = parse("# escape=`\nRUN dir C:\\ `\n  more\n")
    assert found.escape == "`" and found.instructions[0].text == "dir C:\\   more"


def test_here_documents_are_read_to_their_end() -> None:
    text = "FROM x\nCOPY <<one <<-'two' /x/\na $b\none\n\tc\n\t$d\n\ttwo\nRUN cat <<EOF > f && x\nbody\nEOF\nCMD x\n"
    _, copy, run, _ = parse(text).instructions
    assert [(h.name, h.text, h.expands) for h in copy.heredocs] == [
        ("one", "a $b\n", True),
        ("two", "c\n$d\n", False),
    ]
    assert run.shell_text == "cat <<EOF > f && x\nbody\nEOF\n"


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("", "has no instructions", 0),
        ("FROM x\n\nNONSENSE y", "unknown instruction: NONSENSE", 3),
        ("FROM", "FROM requires at least one argument", 1),
        ("FROM x\nRUN <<EOF\nnever ends", "unterminated heredoc EOF", 2),
        ("# escape=x\nFROM x", "invalid escape token", 1),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, words: str, line: int) -> None:
    with pytest.raises(BuildError, match=words) as caught:
        parse(text)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$a/${a}x", "one/onex"),
        ("${none:-$a}", "one"),
        ("${empty:-d} ${empty-d}", "d "),
        ("${a:+set}${none:+set}${empty+set}", "setset"),
        ("'$a' \"$a\" \\$a", "$a one $a"),
        ('"a \\" b"', 'a " b'),
        ("${path#*/}|${path##*/}", "usr/local/lib.tar.gz|lib.tar.gz"),
        ("${path%.*}|${path%%.*}", "/usr/local/lib.tar|/usr/local/lib"),
        ("${path/l/L}|${path//l/L}", "/usr/Local/lib.tar.gz|/usr/LocaL/Lib.tar.gz"),
        ("$", "$"),
        ("${none:-${a:-x}}", "one"),
        ("$two_words", "x y"),
    ],
)
def test_variables_are_replaced(text: str, value: str) -> None:
    assert expand(text, VARIABLES) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [("${a", "missing '}'"), ("'x", "single-quote"), ('"x', "double-quote"), ("${none:?told}", "none: told")],
)
def test_what_does_not_end_is_an_error(text: str, words: str) -> None:
    with pytest.raises(BuildError, match=words):
        expand(text, VARIABLES)


def test_blanks_in_quotes_do_not_end_a_word() -> None:
    assert split("a='b c' \"d e\" f\\ g  h") == ["a='b c'", '"d e"', "f\\ g", "h"]


@pytest.mark.parametrize(
    ("patterns", "path", "excluded"),
    [
        ("*.md", "README.md", True),
        ("*.md", "docs/README.md", False),
        ("**/*.md", "docs/deep/README.md", True),
        ("**/*.md", "README.md", True),
        ("docs", "docs/x/y", True),
        ("/docs/", "docs/x", True),
        ("*\n!keep", "keep", False),
        ("*\n!keep", "keep/x", False),
        ("*.md\n!README*.md\nREADME-secret.md", "README-x.md", False),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c]x", "bx", True),
        ("# comment\n\n  x  ", "x", True),
        ("../x", "x", True),
        ("src/**/test", "src/a/b/test", True),
    ],
)
def test_a_file_is_ignored(patterns: str, path: str, excluded: bool) -> None:
    assert ignore.parse(patterns).excludes(path) is excluded


def arranged(text: str, **given: str) -> plan.Plan:
    return plan.plan(parse(text), given, plan.platform_arguments(PLATFORM, PLATFORM))


STAGES = """
ARG VERSION=1
FROM base:${VERSION} AS one
FROM scratch AS two
COPY --from=one /x /
FROM other
FROM two AS final
COPY --from=2 /y /
RUN --mount=from=one,target=/m true
"""


def test_a_target_needs_the_stages_that_it_is_made_of_and_no_others() -> None:
    found = arranged(STAGES, VERSION="2")
    assert found.stages[0].base == "base:2" and found.stages[3].base == 1
    assert [stage.number for stage in found.needed(found.target("two"))] == [0, 1]
    assert [stage.number for stage in found.needed(found.target(""))] == [0, 1, 2, 3]
    assert found.target("0").number == 0
    with pytest.raises(BuildError, match="target stage 'nine' could not be found"):
        found.target("nine")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RUN x", "no build stage in current context"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a AS 9x", "invalid name for build stage"),
        ("FROM ${nothing}", "should not be blank"),
        ("FROM --wrong=x a", "unknown flag: --wrong"),
    ],
)
def test_stages_that_make_no_sense_are_refused(text: str, words: str) -> None:
    with pytest.raises(BuildError, match=words):
        arranged(text)


def settled(text: str, state: State | None = None) -> dict[str, Any]:
    state = state or scratch(PLATFORM)
    file: Dockerfile = parse(text)
    for instruction in file.instructions:
        SETTINGS[instruction.name](instruction, state, file.escape)
    return state.config


def test_settings_become_the_images_configuration() -> None:
    text = """
ENV A=1 B="two words" C=$PATH
ENV OLD the old way
LABEL x=y "quoted key"=z
EXPOSE 80 443/udp 8000-8001
VOLUME ["/data", "/more"]
USER me:us
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=5m --timeout=3s --retries=2 CMD curl -f http://localhost/ || exit 1
ONBUILD RUN something
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
CMD echo $HOME
"""
    config = settled(text)
    assert config["Env"][1:] == ["A=1", "B=two words", f"C={config['Env'][0][5:]}", "OLD=the old way"]
    assert config["Labels"] == {"x": "y", "quoted key": "z"}
    assert list(config["ExposedPorts"]) == ["80/tcp", "443/udp", "8000/tcp", "8001/tcp"]
    assert list(config["Volumes"]) == ["/data", "/more"] and config["User"] == "me:us"
    assert config["StopSignal"] == "SIGQUIT" and config["OnBuild"] == ["RUN something"]
    test = ["CMD-SHELL", "curl -f http://localhost/ || exit 1"]
    assert config["Healthcheck"] == {"Test": test, "Interval": 300 * 10**9, "Timeout": 3 * 10**9, "Retries": 2}
    assert config["Cmd"] == ["/bin/bash", "-o", "pipefail", "-c", "echo $HOME"]


def test_an_entrypoint_puts_the_bases_command_out_of_force_and_not_its_own() -> None:
    base = scratch(PLATFORM)
    base.config["Cmd"] = ["base"]
    assert settled('ENTRYPOINT ["x"]', base)["Cmd"] is None
    assert settled('CMD ["own"]\nENTRYPOINT ["x"]')["Cmd"] == ["own"]


def test_values_of_one_env_see_what_was_before_it() -> None:
    assert settled("ENV a=hello\nENV a=bye b=$a\nENV c=$a")["Env"][1:] == ["a=bye", "b=hello", "c=bye"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ENV a=1 b", "can't find = in 'b'"),
        ("ENV a", "ENV must have two arguments"),
        ("EXPOSE 99999", "invalid containerPort"),
        ("SHELL sh -c", "JSON form"),
        ("ONBUILD FROM x", "isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK --interval=soon CMD x", "no duration"),
    ],
)
def test_settings_that_make_no_sense_are_refused(text: str, words: str) -> None:
    with pytest.raises(BuildError, match=words):
        settled(text)
