//! Texts of a policy that stand for more than themselves: with wildcards and policy variables.

use std::borrow::Cow;

use super::Context;

/// A text with `*` (any number of characters), `?` (exactly one) and `${variable}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Char(char),
    One,
    Many,
    Variable { key: String, default: Option<String> },
}

impl Pattern {
    /// Reads a text in which `*` and `?` are wildcards. `None` for a variable without an end.
    pub fn wildcards(text: &str, has_variables: bool) -> Option<Pattern> {
        let mut pieces = read(text, has_variables)?;
        for piece in &mut pieces {
            match piece {
                (Piece::Char('*'), false) => piece.0 = Piece::Many,
                (Piece::Char('?'), false) => piece.0 = Piece::One,
                _ => {}
            }
        }
        Some(Pattern(pieces.into_iter().map(|(piece, _)| piece).collect()))
    }

    /// Reads a text in which `*` and `?` are themselves.
    pub fn exact(text: &str, has_variables: bool) -> Option<Pattern> {
        Some(Pattern(read(text, has_variables)?.into_iter().map(|(piece, _)| piece).collect()))
    }

    /// Splits at colons as an ARN is split: into six parts, the last of which may have colons itself. A
    /// pattern of fewer parts yields them.
    pub fn split_arn(self) -> Vec<Pattern> {
        self.0.splitn(6, |piece| *piece == Piece::Char(':')).map(|part| Pattern(part.to_vec())).collect()
    }

    /// Whether nothing in it is a wildcard or a variable.
    pub fn is_fixed(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Char(_)))
    }

    /// Whether it stands for every text.
    pub fn is_anything(&self) -> bool {
        self.0 == [Piece::Many]
    }

    /// Whether it stands for `text` in a request. A variable whose key the request does not have, and that
    /// has no default, stands for nothing.
    ///
    /// Goes back to the last `*` only, so time is bounded by the product of the two lengths.
    pub fn matches(&self, text: &str, context: Context<'_>) -> bool {
        self.resolve(context).is_some_and(|pieces| glob(&pieces, text))
    }

    /// [`Pattern::matches`], with both sides in lower case.
    pub fn matches_ignoring_case(&self, text: &str, context: Context<'_>) -> bool {
        self.resolve(context).is_some_and(|pieces| {
            let mut lowered = Vec::with_capacity(pieces.len());
            for piece in pieces.iter() {
                match piece {
                    Piece::Char(character) => lowered.extend(character.to_lowercase().map(Piece::Char)),
                    other => lowered.push(other.clone()),
                }
            }
            glob(&lowered, &text.chars().flat_map(char::to_lowercase).collect::<String>())
        })
    }

    /// [`Pattern::matches`] for patterns without variables, which stand for nothing here.
    pub fn matches_plain(&self, text: &str) -> bool {
        self.matches(text, &|_| Vec::new())
    }

    /// Whether some text that begins with `prefix` could match, whatever its variables are.
    pub fn may_begin_with(&self, prefix: &str) -> bool {
        let mut pieces = self.0.iter();
        for expected in prefix.chars() {
            match pieces.next() {
                Some(Piece::Many | Piece::Variable { .. }) => return true,
                Some(Piece::One) => {}
                Some(Piece::Char(found)) if *found == expected => {}
                Some(Piece::Char(_)) | None => return false,
            }
        }
        true
    }

    /// The pieces with the values of variables in place. A value is text, whatever characters it has: a
    /// user named `*` matches nobody else.
    fn resolve(&self, context: Context<'_>) -> Option<Cow<'_, [Piece]>> {
        if !self.0.iter().any(|piece| matches!(piece, Piece::Variable { .. })) {
            return Some(Cow::Borrowed(&self.0));
        }
        let mut pieces = Vec::with_capacity(self.0.len());
        for piece in &self.0 {
            let Piece::Variable { key, default } = piece else {
                pieces.push(piece.clone());
                continue;
            };
            let value = match <[String; 1]>::try_from(context(key)) {
                Ok([value]) => value,
                // A key with many values cannot stand for one text.
                Err(values) if values.is_empty() => default.clone()?,
                Err(_) => return None,
            };
            pieces.extend(value.chars().map(Piece::Char));
        }
        Some(Cow::Owned(pieces))
    }
}

/// Splits a text into characters and variables. The flag tells characters that were escaped (`${*}`).
fn read(text: &str, has_variables: bool) -> Option<Vec<(Piece, bool)>> {
    let mut pieces = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let Some(inner) = rest.strip_prefix("${").filter(|_| has_variables) else {
            pieces.push((Piece::Char(first), false));
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let (variable, behind) = inner.split_once('}')?;
        pieces.push(match variable {
            "*" => (Piece::Char('*'), true),
            "?" => (Piece::Char('?'), true),
            "$" => (Piece::Char('$'), true),
            _ => (read_variable(variable)?, true),
        });
        rest = behind;
    }
    Some(pieces)
}

/// `key` or `key, 'default'`.
fn read_variable(text: &str) -> Option<Piece> {
    let (key, default) = match text.split_once(',') {
        Some((key, default)) => {
            let default = default.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            (key, Some(default.to_owned()))
        }
        None => (text, None),
    };
    let key = super::condition::canonical_key(key.trim());
    (!key.is_empty()).then_some(Piece::Variable { key, default })
}

fn glob(pattern: &[Piece], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where to go on when the text behind the last `*` turns out to be another: its position, and the
    // first character that it has not swallowed yet.
    let mut retry: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(Piece::Many) => {
                retry = Some((at_pattern, at_text));
                at_pattern += 1;
                continue;
            }
            Some(Piece::One) => {
                (at_pattern, at_text) = (at_pattern + 1, at_text + 1);
                continue;
            }
            Some(Piece::Char(expected)) if *expected == text[at_text] => {
                (at_pattern, at_text) = (at_pattern + 1, at_text + 1);
                continue;
            }
            Some(_) | None => {}
        }
        let Some((star, swallowed)) = retry else { return false };
        retry = Some((star, swallowed + 1));
        (at_pattern, at_text) = (star + 1, swallowed + 1);
    }
    pattern[at_pattern..].iter().all(|piece| *piece == Piece::Many)
}
