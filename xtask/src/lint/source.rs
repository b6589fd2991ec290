//! What one Rust file names, read from its tokens: paths (with `use` trees spread out), keywords and attributes.
//!
//! Tokens, not a syntax tree: what a macro's body names counts as well. Code under `#[cfg(test)]` does not count.

use std::str::FromStr as _;

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Group, LineColumn, TokenStream, TokenTree};

/// A path that a file names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mention {
    /// The segments, from the crate on where the path began with `self` or `super`; a glob ends in `*`.
    pub(super) segments: Vec<String>,
    /// Whether it stands in a `use` or `extern crate`.
    pub(super) import: bool,
    /// The line, from 1.
    pub(super) line: usize,
}

/// One file, as far as rules care.
#[derive(Default, Debug)]
pub(super) struct Source {
    /// Every path of two segments or more, and every import.
    pub(super) mentions: Vec<Mention>,
    /// Lines with the keyword `unsafe`.
    pub(super) unsafe_lines: Vec<usize>,
    /// Lines with an exception from a lint that is an `allow`, or an `expect` without a reason.
    pub(super) silent_exceptions: Vec<usize>,
    /// Lines, without those of test modules.
    pub(super) lines: usize,
}

impl Source {
    /// Reads `text`, the file of the module `modules` of its crate.
    pub(super) fn read(text: &str, modules: &[String]) -> Result<Self> {
        let stream = TokenStream::from_str(text).map_err(|error| anyhow!("not Rust: {error}"))?;
        let mut source = Self { lines: text.lines().count(), ..Self::default() };
        let mut modules = modules.to_vec();
        source.walk(&tokens(stream), &mut modules);
        Ok(source)
    }

    fn walk(&mut self, tokens: &[TokenTree], modules: &mut Vec<String>) {
        let mut at = 0;
        while at < tokens.len() {
            at = match &tokens[at] {
                TokenTree::Punct(punct) if punct.as_char() == '#' => self.attribute(tokens, at, modules),
                TokenTree::Ident(ident) if ident == "use" => self.tree(tokens, at + 1, &[], modules),
                TokenTree::Ident(ident) if ident == "mod" => self.module(tokens, at, modules),
                TokenTree::Ident(ident) if ident == "unsafe" => {
                    self.unsafe_lines.push(ident.span().start().line);
                    at + 1
                }
                TokenTree::Ident(ident) if ident == "extern" && is_ident(tokens.get(at + 1), "crate") => {
                    self.tree(tokens, at + 2, &[], modules)
                }
                TokenTree::Ident(_) => self.path(tokens, at, modules),
                TokenTree::Group(group) => {
                    self.walk(&inner(group), modules);
                    at + 1
                }
                _ => at + 1,
            };
        }
    }

    /// An attribute; one that confines an item to tests takes the item with it.
    fn attribute(&mut self, tokens: &[TokenTree], at: usize, modules: &mut Vec<String>) -> usize {
        let inward = matches!(tokens.get(at + 1), Some(TokenTree::Punct(punct)) if punct.as_char() == '!');
        let place = at + 1 + usize::from(inward);
        let Some(TokenTree::Group(group)) = tokens.get(place) else { return at + 1 };
        let content = inner(group);
        if !inward && is_for_tests(&content) {
            let end = item_end(tokens, place + 1);
            let first = tokens[at].span().start().line;
            let last = tokens.get(end - 1).map_or(first, |token| token.span().end().line);
            self.lines -= (last + 1).saturating_sub(first);
            return end;
        }
        if is_silent_exception(&content) {
            self.silent_exceptions.push(tokens[at].span().start().line);
        }
        self.walk(&content, modules);
        place + 1
    }

    fn module(&mut self, tokens: &[TokenTree], at: usize, modules: &mut Vec<String>) -> usize {
        let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) = (tokens.get(at + 1), tokens.get(at + 2)) else {
            return at + 1;
        };
        modules.push(name.to_string());
        self.walk(&inner(body), modules);
        modules.pop();
        at + 3
    }

    /// One branch of a `use` tree from `at` on; returns where it ends.
    fn tree(&mut self, tokens: &[TokenTree], mut at: usize, before: &[String], modules: &[String]) -> usize {
        let mut segments = before.to_vec();
        let start = tokens.get(at).map_or(LineColumn { line: 0, column: 0 }, |token| token.span().start());
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Punct(punct) if matches!(punct.as_char(), ';' | ',') => break,
                TokenTree::Punct(punct) if punct.as_char() == '*' => segments.push("*".to_owned()),
                TokenTree::Ident(ident) if ident == "as" => at += 1,
                TokenTree::Ident(ident) if ident == "self" && !segments.is_empty() => {}
                TokenTree::Ident(ident) => segments.push(ident.to_string()),
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    let branches = inner(group);
                    let mut branch = 0;
                    while branch < branches.len() {
                        branch = self.tree(&branches, branch, &segments, modules) + 1;
                    }
                    segments.clear();
                }
                _ => {}
            }
            at += 1;
        }
        if !segments.is_empty() {
            self.mentions.push(Mention { segments: resolved(&segments, modules), import: true, line: start.line });
        }
        at
    }

    /// A path outside of a `use`.
    fn path(&mut self, tokens: &[TokenTree], at: usize, modules: &[String]) -> usize {
        let mut segments = Vec::new();
        let mut next = at;
        while let Some(TokenTree::Ident(ident)) = tokens.get(next) {
            segments.push(ident.to_string());
            if !is_colon(tokens.get(next + 1)) || !is_colon(tokens.get(next + 2)) {
                break;
            }
            next += 3;
        }
        if segments.len() > 1 {
            let line = tokens[at].span().start().line;
            self.mentions.push(Mention { segments: resolved(&segments, modules), import: false, line });
        }
        next.max(at) + 1
    }
}

fn tokens(stream: TokenStream) -> Vec<TokenTree> {
    stream.into_iter().collect()
}

fn inner(group: &Group) -> Vec<TokenTree> {
    tokens(group.stream())
}

fn is_ident(token: Option<&TokenTree>, name: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == name)
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

/// `cfg(test)`, `cfg(all(test, …))`: anything that needs tests, but not `cfg(not(test))`.
fn is_for_tests(attribute: &[TokenTree]) -> bool {
    fn needs_test(tokens: &[TokenTree]) -> bool {
        is_ident(tokens.first(), "test")
            || is_ident(tokens.first(), "all")
                && matches!(tokens.get(1), Some(TokenTree::Group(all))
                    if inner(all).split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')).any(needs_test))
    }
    is_ident(attribute.first(), "cfg")
        && matches!(attribute.get(1), Some(TokenTree::Group(condition)) if needs_test(&inner(condition)))
}

/// An `allow`, or an `expect` that gives no reason.
fn is_silent_exception(attribute: &[TokenTree]) -> bool {
    let Some(TokenTree::Group(lints)) = attribute.get(1) else { return false };
    let reasoned = inner(lints).iter().any(|token| is_ident(Some(token), "reason"));
    is_ident(attribute.first(), "allow") || is_ident(attribute.first(), "expect") && !reasoned
}

/// The place behind the item that begins at `at`: behind its body or its semicolon.
fn item_end(tokens: &[TokenTree], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
            TokenTree::Punct(punct) if punct.as_char() == ';' => break,
            _ => {}
        }
    }
    at
}

/// `segments` from the crate on, if they begin with `self` or `super`.
fn resolved(segments: &[String], modules: &[String]) -> Vec<String> {
    let up = segments.iter().take_while(|segment| *segment == "super").count();
    let own = usize::from(segments.first().is_some_and(|segment| segment == "self"));
    if up + own == 0 {
        return segments.to_vec();
    }
    let kept = &modules[..modules.len().saturating_sub(up)];
    let path = std::iter::once("crate").chain(kept.iter().map(String::as_str)).map(str::to_owned);
    path.chain(segments[up + own..].iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let source = Source::read(text, &["model".to_owned(), "service".to_owned()]).unwrap();
        source.mentions.iter().map(|mention| mention.segments.join("::")).collect()
    }

    #[test]
    fn a_use_tree_is_spread_out() {
        assert_eq!(
            names("use {std::{time::{self, Duration}, fs::*}, aya as a, ::kube};"),
            ["std::time", "std::time::Duration", "std::fs::*", "aya", "kube"]
        );
        assert_eq!(names("extern crate aya; use x::{y, };"), ["aya", "x::y"]);
    }

    #[test]
    fn paths_in_code_types_macros_and_attributes_count() {
        let text = "#[tokio::main] fn f(x: &kube::Client) { vec![std::fs::read(p)]; a::b::<c::D>() }";
        assert_eq!(names(text), ["tokio::main", "kube::Client", "std::fs::read", "a::b", "c::D"]);
    }

    #[test]
    fn relative_paths_are_resolved_from_the_module_they_stand_in() {
        assert_eq!(names("use super::super::store::Kernel; use self::a;"), ["crate::store::Kernel", "crate::model::service::a"]);
        assert_eq!(names("mod inner { use super::super::x; }"), ["crate::model::x"]);
    }

    #[test]
    fn code_of_tests_does_not_count_but_what_follows_does() {
        let text = "fn a() {}\n#[cfg(test)]\n#[path = \"t.rs\"]\nmod tests {\n use tokio::x;\n}\nuse kube::Client;\n";
        assert_eq!(names(text), ["kube::Client"]);
        assert_eq!(Source::read(text, &[]).unwrap().lines, 2);
        assert_eq!(
            names("#[cfg(all(unix, test))] use a::b; #[cfg(not(test))] use c::d; #[cfg(any(test, x))] use e::f;"),
            ["c::d", "e::f"]
        );
    }

    #[test]
    fn unsafe_code_and_silent_exceptions_are_found() {
        let text = "#![allow(a)]\n#[expect(unsafe_code, reason = \"r\")]\nfn f() {\n unsafe {} }\n#[expect(b)]\nfn g() {}\n";
        let source = Source::read(text, &[]).unwrap();
        assert_eq!(source.unsafe_lines, [4]);
        assert_eq!(source.silent_exceptions, [1, 5]);
    }
}
