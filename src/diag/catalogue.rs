//! The pages about mistakes: for each code a text with a wrong and a right example, from `docs/errors/`.
//!
//! The pages are embedded; this module finds them and takes them apart, and knows nothing of terminals.

use super::nearest;

/// A page's file name and its text; `build.rs` lists them.
const PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/error_pages.rs"));

/// Groups of the list, in its order, by the words that codes of the group begin or end with; a code belongs to
/// the first group that has one of them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Hints about what nothing uses", &["unused-"]),
    ("Writing KDL", SYNTAX),
    ("Parameters and flags", &["-parameter", "flag", "-choice", "-range", "min-above-max", "profile"]),
    ("Matrices and cells", &["axis", "matri", "cell", "zip", "-pattern", "ambiguous-step", "too-many-steps"]),
    ("Comparing and measuring", &["compar", "expect", "parity", "measure", "published", "metric"]),
    ("Recipes", &["recipe", "result", "reserved-name", "in-library", "for-each"]),
    (
        "Files and locks",
        &[
            "file", "lock", "path", "use", "module", "import", "project", "read", "absolute", "require", "digest",
            "address", "python", "secret",
        ],
    ),
    ("Values and units", &["unit", "type", "value", "number", "negative", "annotation", "builtin", "name"]),
    ("Nodes and settings", &[""]),
];

const SYNTAX: &[&str] = &[
    "unclosed-",
    "unopened-",
    "kdl",
    "comma",
    "bracket",
    "missing-space",
    "bad-number",
    "syntax",
    "slashdash",
    "too-deep",
    "too-many-tokens",
    "file-too-large",
    "not-text",
    "forbidden-",
    "parser-failed",
    "empty-file",
    "escape",
    "property-without-value",
    "after-block",
    "bad-key",
    "bad-annotation",
    "block-without-node",
    "hash-comment",
    "missing-name",
    "quotes",
    "stray-",
    "string-indent",
    "unit-behind-number",
    "unknown-keyword",
    "format-failed",
];

/// One mistake.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Without the `pipe::` that messages put before it.
    pub name: &'static str,
    /// Markdown.
    pub text: &'static str,
}

/// Blocks of a page's Markdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    Heading(String),
    Paragraph(String),
    /// The words behind the fence, and the lines in it.
    Code(String, String),
}

/// All pages in the order of their names.
pub fn pages() -> impl Iterator<Item = Page> {
    PAGES.iter().map(|(file, text)| Page { name: file.trim_end_matches(".md"), text })
}

/// The page of a code, written `pipe::unknown-node` or `unknown-node`.
pub fn page(code: &str) -> Option<Page> {
    let name = code.strip_prefix("pipe::").unwrap_or(code);
    pages().find(|page| page.name == name)
}

/// The code that is most like this one.
pub fn like(code: &str) -> Option<&'static str> {
    let name = code.strip_prefix("pipe::").unwrap_or(code);
    nearest(name, pages().map(|page| page.name))
}

/// The titles of the groups and their pages, without empty ones.
pub fn groups() -> Vec<(&'static str, Vec<Page>)> {
    let belongs = |page: &Page| GROUPS.iter().position(|(_, words)| words.iter().any(|word| page.name.contains(word)));
    let group = |(index, (title, _)): (usize, &(&'static str, &[&str]))| {
        let mut pages: Vec<Page> = pages().filter(|page| belongs(page) == Some(index)).collect();
        pages.sort_by_key(|page| page.name);
        (*title, pages)
    };
    GROUPS.iter().enumerate().map(group).filter(|(_, pages)| !pages.is_empty()).collect()
}

impl Page {
    /// The first sentence.
    pub fn summary(&self) -> String {
        let first = self.blocks().into_iter().find_map(|block| match block {
            Block::Paragraph(text) => Some(text),
            Block::Heading(_) | Block::Code(..) => None,
        });
        let text = first.unwrap_or_default();
        match text.split_once(". ") {
            Some((sentence, _)) => format!("{sentence}."),
            None => text,
        }
    }

    /// The page in its parts.
    pub fn blocks(&self) -> Vec<Block> {
        blocks(self.text)
    }
}

/// Markdown with headings, paragraphs and fences, and nothing else.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut out = Vec::new();
    let mut lines = text.lines();
    let mut paragraph: Vec<&str> = Vec::new();
    let close = |paragraph: &mut Vec<&str>, out: &mut Vec<Block>| {
        if !paragraph.is_empty() {
            out.push(Block::Paragraph(paragraph.join(" ")));
            paragraph.clear();
        }
    };
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            close(&mut paragraph, &mut out);
            let code: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            out.push(Block::Code(info.to_owned(), code.join("\n") + "\n"));
        } else if line.starts_with('#') {
            close(&mut paragraph, &mut out);
            out.push(Block::Heading(line.trim_start_matches('#').trim().to_owned()));
        } else if line.trim().is_empty() {
            close(&mut paragraph, &mut out);
        } else {
            paragraph.push(line.trim());
        }
    }
    close(&mut paragraph, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_comes_apart() {
        let text = "# a-code\n\nOne.\nTwo.\n\n```kdl flags=\"x\"\na\n\n# b\n```\nEnd\n";
        let expected = [
            Block::Heading("a-code".to_owned()),
            Block::Paragraph("One. Two.".to_owned()),
            Block::Code("kdl flags=\"x\"".to_owned(), "a\n\n# b\n".to_owned()),
            Block::Paragraph("End".to_owned()),
        ];
        assert_eq!(blocks(text), expected);
    }

    #[test]
    fn codes_are_found_in_both_spellings_and_by_slips() {
        assert_eq!(page("pipe::unknown-node").map(|page| page.name), Some("unknown-node"));
        assert_eq!(page("unknown-node").map(|page| page.name), Some("unknown-node"));
        assert!(page("unknown-nod").is_none());
        assert_eq!(like("unknown-nod"), Some("unknown-node"));
    }

    #[test]
    fn each_page_is_in_one_group() {
        let grouped: usize = groups().iter().map(|(_, pages)| pages.len()).sum();
        assert_eq!(grouped, pages().count());
    }
}
