//! Requests as the protocol writes them to our questions, and our answers back.

use lsp_types::{
    CodeAction, CodeActionKind, CodeActionParams, CompletionItem, CompletionItemKind, CompletionParams,
    CompletionResponse, CompletionTextEdit, DocumentFormattingParams, DocumentHighlight, DocumentHighlightParams,
    DocumentSymbolParams, DocumentSymbolResponse, Documentation, GotoDefinitionParams, Hover, HoverContents,
    HoverParams, InlayHint, InlayHintParams, InsertTextFormat, Location, MarkupContent, MarkupKind,
    PrepareRenameResponse, Range, ReferenceParams, RenameParams, TextDocumentPositionParams, TextEdit, WorkspaceEdit,
};

use super::complete::{Item, What, complete};
use super::position::Lines;
use super::server::{Look, Refusal, Server};
use super::{hints, hover, navigate};
use crate::diag::At;
use crate::resolve::symbols::NameKind;
use crate::syntax;

fn markdown(value: String) -> MarkupContent {
    MarkupContent { kind: MarkupKind::Markdown, value }
}

/// What can be written at the cursor.
pub fn completion(server: &Server, params: CompletionParams) -> Option<CompletionResponse> {
    let (look, offset) = server.at(&params.text_document_position)?;
    let found = complete(&look.index, look.file, offset);
    let lines = look.lines();
    let range = lines.range(found.from, found.to);
    let written = look.text.get(found.from..offset).unwrap_or_default();
    let items = found
        .items
        .into_iter()
        .enumerate()
        .map(|(number, item)| completion_item(server, item, number, range, written, &lines));
    Some(CompletionResponse::Array(items.collect()))
}

fn completion_item(
    server: &Server,
    item: Item,
    number: usize,
    range: Range,
    written: &str,
    lines: &Lines,
) -> CompletionItem {
    let kind = match item.kind {
        What::Value => CompletionItemKind::VALUE,
        What::Node => CompletionItemKind::KEYWORD,
        What::Recipe => CompletionItemKind::FUNCTION,
        What::Setting => CompletionItemKind::PROPERTY,
        What::Step => CompletionItemKind::REFERENCE,
        What::Param => CompletionItemKind::VARIABLE,
        What::Axis => CompletionItemKind::ENUM,
        What::Unit => CompletionItemKind::UNIT,
        What::File => CompletionItemKind::FILE,
        What::Folder => CompletionItemKind::FOLDER,
    };
    let snippet = item.snippet.filter(|_| server.snippets);
    let format = if snippet.is_some() { InsertTextFormat::SNIPPET } else { InsertTextFormat::PLAIN_TEXT };
    let edit = |(at, text): (At, String)| vec![TextEdit { range: lines.range(at.start, at.end), new_text: text }];
    // Editors sort what they filter by the text that is replaced; an annotation before it must not hide it.
    let filter =
        if written.is_empty() || item.text.starts_with(written) { item.text.clone() } else { item.label.clone() };
    CompletionItem {
        label: item.label,
        kind: Some(kind),
        detail: Some(item.detail).filter(|detail| !detail.is_empty()),
        documentation: Some(item.doc)
            .filter(|doc| !doc.is_empty())
            .map(|doc| Documentation::MarkupContent(markdown(doc))),
        sort_text: Some(format!("{}{number:04}", item.rank)),
        filter_text: Some(filter),
        insert_text_format: Some(format),
        text_edit: Some(CompletionTextEdit::Edit(TextEdit { range, new_text: snippet.unwrap_or(item.text) })),
        additional_text_edits: item.extra.map(edit),
        ..CompletionItem::default()
    }
}

/// What is known of the word under the cursor.
pub fn hover(server: &Server, params: HoverParams) -> Option<Hover> {
    let place = params.text_document_position_params;
    let (look, offset) = server.at(&place)?;
    let surveyed = server.surveyed.lock().ok()?;
    let known = surveyed.get(&server.documents.real(&place.text_document.uri));
    let (text, at) = hover::hover(&look.index, look.file, offset, known.map(Vec::as_slice).unwrap_or_default())?;
    let range = Some(look.lines().range(at.start, at.end));
    Some(Hover { contents: HoverContents::Markup(markdown(text)), range })
}

fn location(server: &Server, look: &Look, at: At) -> Option<Location> {
    let unit = &look.index.files.get(at.source)?.unit;
    let range = Lines::new(&unit.text, look.encoding).range(at.start, at.end);
    Some(Location::new(server.documents.uri(&unit.id)?, range))
}

/// Where the name under the cursor is declared, or the file that it names.
pub fn definition(server: &Server, params: GotoDefinitionParams) -> Option<Vec<Location>> {
    let (look, offset) = server.at(&params.text_document_position_params)?;
    let occurrence = look.index.at(look.file, offset)?;
    if occurrence.name.kind == NameKind::File {
        let path = std::path::Path::new(&occurrence.name.text);
        if path.is_absolute() && !path.exists() && look.index.file(path).is_none() {
            return None;
        }
        return Some(vec![Location::new(server.documents.uri(path)?, Range::default())]);
    }
    let found: Vec<Location> =
        look.index.declarations(occurrence).filter_map(|declared| location(server, &look, declared.at)).collect();
    (!found.is_empty()).then_some(found)
}

/// Every place of the project where the name under the cursor stands.
pub fn references(server: &Server, params: ReferenceParams) -> Option<Vec<Location>> {
    let place: TextDocumentPositionParams = params.text_document_position;
    let look = server.look_around(&place.text_document.uri)?;
    let name = &look.index.at(look.file, look.lines().offset(place.position))?.name;
    let wanted = look.index.all(name).filter(|o| params.context.include_declaration || o.declares.is_none());
    Some(wanted.filter_map(|occurrence| location(server, &look, occurrence.at)).collect())
}

/// The places of this file where the name under the cursor stands.
pub fn highlights(server: &Server, params: DocumentHighlightParams) -> Option<Vec<DocumentHighlight>> {
    let (look, offset) = server.at(&params.text_document_position_params)?;
    let name = &look.index.at(look.file, offset)?.name;
    let here = look.index.all(name).filter(|occurrence| occurrence.at.source == look.file);
    let lines = look.lines();
    Some(here.map(|o| DocumentHighlight { range: lines.range(o.at.start, o.at.end), kind: None }).collect())
}

/// The name that would be renamed.
pub fn prepare_rename(
    server: &Server,
    place: TextDocumentPositionParams,
) -> Result<Option<PrepareRenameResponse>, Refusal> {
    let Some((look, offset)) = server.at(&place) else { return Ok(None) };
    let occurrence = navigate::renamable(&look.index, look.file, offset).map_err(Refusal::failed)?;
    let range = look.lines().range(occurrence.at.start, occurrence.at.end);
    Ok(Some(PrepareRenameResponse::RangeWithPlaceholder { range, placeholder: occurrence.name.text.clone() }))
}

/// A new name everywhere in the project.
pub fn rename(server: &Server, params: RenameParams) -> Result<Option<WorkspaceEdit>, Refusal> {
    let place = params.text_document_position;
    let Some(look) = server.look_around(&place.text_document.uri) else { return Ok(None) };
    let offset = look.lines().offset(place.position);
    let places = navigate::rename(&look.index, look.file, offset, &params.new_name).map_err(Refusal::failed)?;
    let mut changes = Vec::new();
    for (file, places) in places {
        let unit = &look.index.files[file].unit;
        let lines = Lines::new(&unit.text, look.encoding);
        let edit = |at: &At| TextEdit { range: lines.range(at.start, at.end), new_text: params.new_name.clone() };
        let Some(uri) = server.documents.uri(&unit.id) else {
            return Err(Refusal::failed(format!("`{}` has no address", unit.id.display())));
        };
        changes.push((uri, places.iter().map(edit).collect()));
    }
    Ok(Some(WorkspaceEdit { changes: Some(changes.into_iter().collect()), ..WorkspaceEdit::default() }))
}

/// The outline of a file.
pub fn outline(server: &Server, params: DocumentSymbolParams) -> Option<DocumentSymbolResponse> {
    let look = server.look(&params.text_document.uri)?;
    let nodes = &look.index.files[look.file].unit.document.nodes;
    Some(DocumentSymbolResponse::Nested(navigate::outline(nodes, &look.lines())))
}

/// The quick fixes of the findings in a range.
pub fn code_actions(server: &Server, params: CodeActionParams) -> Option<Vec<CodeAction>> {
    let path = server.documents.real(&params.text_document.uri);
    let version = server.documents.all().get(&path)?.version;
    let remedies = server.remedies.lock().ok()?;
    // Edits of an older text would hit other words; the next round makes new ones.
    let (_, remedies) = remedies.get(&path).filter(|(made, _)| *made == version)?;
    let touches = |range: &Range| range.start <= params.range.end && params.range.start <= range.end;
    let wanted = params
        .context
        .only
        .is_none_or(|only| only.iter().any(|kind| kind.as_str().is_empty() || *kind == CodeActionKind::QUICKFIX));
    let actions =
        remedies.iter().filter(|remedy| wanted && touches(&remedy.diagnostic.range)).map(|remedy| CodeAction {
            title: remedy.title.clone(),
            kind: Some(CodeActionKind::QUICKFIX),
            diagnostics: Some(vec![remedy.diagnostic.clone()]),
            edit: Some(WorkspaceEdit {
                changes: Some(std::iter::once((params.text_document.uri.clone(), remedy.edits.clone())).collect()),
                ..WorkspaceEdit::default()
            }),
            is_preferred: Some(remedy.sure),
            ..CodeAction::default()
        });
    Some(actions.collect())
}

/// What the store has of the steps in a range.
pub fn inlay_hints(server: &Server, params: InlayHintParams) -> Option<Vec<InlayHint>> {
    let look = server.look(&params.text_document.uri)?;
    let surveyed = server.surveyed.lock().ok()?;
    let known = surveyed.get(&server.documents.real(&params.text_document.uri))?;
    Some(hints::hints(&look.index, look.file, &look.lines(), params.range, known))
}

/// The text as `pipe fmt` writes it.
pub fn formatting(server: &Server, params: DocumentFormattingParams) -> Result<Option<Vec<TextEdit>>, Refusal> {
    let path = server.documents.real(&params.text_document.uri);
    let Some(open) = server.documents.all().get(&path) else { return Ok(None) };
    let formatted = syntax::format(&open.text).map_err(|faults| {
        let first = faults.first().map(|fault| fault.message.clone()).unwrap_or_default();
        Refusal::failed(format!("a file with mistakes is not formatted: {first}"))
    })?;
    if *formatted == *open.text {
        return Ok(Some(Vec::new()));
    }
    let range = Lines::new(&open.text, server.documents.encoding).range(0, open.text.len());
    Ok(Some(vec![TextEdit { range, new_text: formatted }]))
}
