//! From SQL text to a syntax tree whose every name is known.
//!
//! Names are judged here, before DataFusion plans the tree, because here their place in the text is still known:
//! fields by their exact letter case, functions in any. What is about more than one record, or may answer differently
//! from call to call, is refused.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use arrow::datatypes::Schema;
use datafusion::common::DataFusionError;
use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::Volatility;
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast::{
    Expr, ExprWithAlias, Function, FunctionArguments, Ident, Query, Spanned, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Location;

use super::ExprProblem;

/// DataFusion's own functions and grammar, the same for every topology; no table, no catalog, no clock.
pub(super) static PLANNER: LazyLock<SessionState> = LazyLock::new(|| {
    let mut config = SessionConfig::new();
    let parser = &mut config.options_mut().sql_parser;
    // Fields are found as they are declared: `userId` is not `userid`. Functions are found in any case all the same.
    parser.enable_ident_normalization = false;
    parser.map_string_types_to_utf8view = false;
    let mut state = SessionStateBuilder::new_with_default_features().with_config(config).build();
    for function in super::functions::all() {
        state.register_udf(function).expect("a function under a new name registers");
    }
    state
});

/// The name of the field that holds the clock, where expressions may look at it: `now()` reads it.
pub const NOW: &str = "now()";

/// A syntax tree whose every name is known.
pub(super) struct Parsed {
    pub tree: ExprWithAlias,
    /// The tree as text: one form whatever the white space, comments and letter case of keywords and functions.
    pub canonical: String,
    /// Indices of the fields that it names, ascending.
    pub fields: Vec<usize>,
}

/// Parses one expression over the fields of `schema`.
pub(super) fn parse(sql: &str, schema: &Schema) -> Result<Parsed, ExprProblem> {
    let dialect = PLANNER.config().options().sql_parser.dialect;
    let mut tree = PLANNER.sql_to_expr_with_alias(sql, &dialect).map_err(|error| syntax_problem(sql, &error))?;
    if let Some(alias) = &tree.alias {
        return Err(ExprProblem {
            at: byte_offset(sql, alias.span.start),
            message: format!("`as {}` names the expression, but here it is one value without a name", alias.value),
            remedy: "leave `as` and the name out".into(),
        });
    }
    let mut names = Names { sql, schema, fields: Vec::new() };
    if let ControlFlow::Break(problem) = tree.visit(&mut names) {
        return Err(*problem);
    }
    let mut fields = names.fields;
    fields.sort_unstable();
    fields.dedup();
    Ok(Parsed { canonical: tree.to_string(), tree, fields })
}

/// Judges every name in a tree, and writes function names in lower case.
struct Names<'a> {
    sql: &'a str,
    schema: &'a Schema,
    fields: Vec<usize>,
}

type Judged = ControlFlow<Box<ExprProblem>>;

impl VisitorMut for Names<'_> {
    type Break = Box<ExprProblem>;

    fn pre_visit_query(&mut self, query: &mut Query) -> Judged {
        self.refuse(
            query.span().start,
            "a subquery reads other records, but an expression is about one".into(),
            "compute it from the declared fields of the record alone",
        )
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> Judged {
        // Some dialects call `user` without parentheses; a field of that name is what is meant here.
        if let Expr::Function(function) = expr
            && matches!(function.args, FunctionArguments::None)
            && let [part] = function.name.0.as_slice()
            && let Some(ident) = part.as_ident()
            && self.schema.index_of(&ident.value).is_ok()
        {
            *expr = Expr::Identifier(ident.clone());
        }
        if let Expr::Function(function) = expr
            && self.schema.index_of(NOW).is_ok()
            && function.to_string().eq_ignore_ascii_case(NOW)
        {
            *expr = Expr::Identifier(Ident::with_quote('"', NOW));
        }
        match expr {
            Expr::Identifier(ident) => self.field(ident),
            Expr::CompoundIdentifier(idents) => self.path(idents),
            Expr::Function(function) => self.function(function),
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => self.refuse(
                expr.span().start,
                "`*` stands for whole records, but an expression is one value".into(),
                "name the field that is meant",
            ),
            Expr::Exists { .. } | Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Lambda(_) => self.refuse(
                expr.span().start,
                "subqueries and lambda functions are not available in an expression".into(),
                "compute it from the declared fields of the record alone",
            ),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> Judged {
        match &value.value {
            Value::Placeholder(name) => {
                let message = format!("`{name}` is a parameter, and nothing gives it a value");
                self.refuse(value.span.start, message, "write the value itself")
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Names<'_> {
    /// Whether the fields are features, and the clock beside them.
    fn is_over_features(&self) -> bool {
        self.schema.index_of(NOW).is_ok()
    }

    fn refuse(&self, at: Location, message: String, remedy: impl Into<String>) -> Judged {
        let at = byte_offset(self.sql, at);
        ControlFlow::Break(Box::new(ExprProblem { at, message, remedy: remedy.into() }))
    }

    fn field(&mut self, ident: &Ident) -> Judged {
        if let Ok(index) = self.schema.index_of(&ident.value) {
            self.fields.push(index);
            return ControlFlow::Continue(());
        }
        let derived = self.is_over_features();
        let message = format!("unknown {} `{}`", if derived { "feature" } else { "field" }, ident.value);
        let declared = self.schema.fields().iter().map(|field| field.name().as_str()).filter(|name| *name != NOW);
        let near = near(&ident.value, declared.clone());
        let list = declared.collect::<Vec<_>>().join(", ");
        let all = if derived { "It can read" } else { "The declared fields are" };
        let remedy = match near {
            Some(name) => format!("did you mean `{name}`? {all}: {list}"),
            None if ident.quote_style == Some('"') => {
                format!("text goes in single quotes: '{}'. {all}: {list}", ident.value)
            }
            None if derived => format!("use the entity's features, and what is derived above: {list}"),
            None => format!("declare it in the source's schema, or use one of: {list}"),
        };
        self.refuse(ident.span.start, message, remedy)
    }

    fn path(&mut self, idents: &[Ident]) -> Judged {
        let path = idents.iter().map(|ident| ident.value.as_str()).collect::<Vec<_>>().join(".");
        let at = idents.first().map_or_else(Location::empty, |ident| ident.span.start);
        let remedy = match self.schema.index_of(&path) {
            Ok(_) => format!("a declared name with a dot goes in double quotes: \"{path}\""),
            Err(_) if self.is_over_features() => "use the features of the same entity, by their names".into(),
            Err(_) => "declare the nested value as a field of its own in the source's schema".into(),
        };
        self.refuse(at, format!("unknown field `{path}`"), remedy)
    }

    fn function(&mut self, function: &mut Function) -> Judged {
        for part in &mut function.name.0 {
            if let datafusion::sql::sqlparser::ast::ObjectNamePart::Identifier(ident) = part
                && ident.quote_style.is_none()
            {
                ident.value.make_ascii_lowercase();
            }
        }
        let (name, at) = (function.name.to_string(), function.name.span().start);
        let Some(scalar) = PLANNER.scalar_functions().get(&name) else {
            return self.not_scalar(&name, at);
        };
        if function.over.is_some() {
            return self.over_records(&name, at);
        }
        match scalar.signature().volatility {
            Volatility::Immutable => ControlFlow::Continue(()),
            _ if self.is_over_features() => self.refuse(
                at,
                format!("`{name}` may answer differently each time, so that a replay would not give the same values"),
                "compute from the features alone; the current time is `now()`, with `on: read` only",
            ),
            _ => self.refuse(
                at,
                format!("`{name}` may answer differently each time, so that a replay would not give the same values"),
                "compute from the record's own fields; the current time is `now()` in derived features with `on: read` only",
            ),
        }
    }

    fn not_scalar(&self, name: &str, at: Location) -> Judged {
        if PLANNER.aggregate_functions().contains_key(name) || PLANNER.window_functions().contains_key(name) {
            return self.over_records(name, at);
        }
        if PLANNER.higher_order_functions().contains_key(name) || name == "make_map" {
            return ControlFlow::Continue(());
        }
        let known = PLANNER.scalar_functions().keys().map(String::as_str);
        let remedy = match near(name, known) {
            Some(other) => format!("did you mean `{other}`?"),
            None => "use one of DataFusion's scalar functions".into(),
        };
        self.refuse(at, format!("unknown function `{name}`"), remedy)
    }

    fn over_records(&self, name: &str, at: Location) -> Judged {
        self.refuse(
            at,
            format!("`{name}` is about many records, but an expression is about one"),
            match self.is_over_features() {
                true => "make it a feature, and read that here",
                false => "aggregate with the feature's own key, like count, sum or last, and its `window`",
            },
        )
    }
}

/// The most similar name, if one is similar enough to be a slip of the pen or of the letter case.
fn near<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let wrong = wrong.to_lowercase().replace('_', "");
    let score = |name: &str| normalized_levenshtein(&wrong, &name.to_lowercase().replace('_', ""));
    let mut scored: Vec<(f64, &str)> = names.map(|name| (score(name), name)).filter(|(s, _)| *s >= 0.6).collect();
    // The name breaks ties, so that the answer does not hang on the order of a map.
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.first().map(|(_, name)| *name)
}

fn syntax_problem(sql: &str, error: &DataFusionError) -> ExprProblem {
    let text = plain(error);
    // The parser tells the place in its text only: `... at Line: 1, Column: 9`.
    let place = text.rfind(" at Line: ").and_then(|from| {
        let (line, column) = text[from + " at Line: ".len()..].split_once(", Column: ")?;
        Some((from, Location::new(line.parse().ok()?, column.trim().parse().ok()?)))
    });
    let at = match place {
        Some((_, location)) => byte_offset(sql, location),
        None if text.contains("EOF") => Some(sql.len()),
        None => None,
    };
    let what = place.map_or(text.as_str(), |(from, _)| &text[..from]);
    ExprProblem {
        at,
        message: format!("not an SQL expression: {}", what.replace("EOF", "the end")),
        remedy: "write one SQL expression, such as `event = 'view'`; a field whose name is an SQL word goes in double quotes"
            .into(),
    }
}

/// DataFusion's message without its wrappings, on one line, at most 300 characters.
pub(super) fn plain(error: &DataFusionError) -> String {
    let whole = error.strip_backtrace();
    let mut text = whole.as_str();
    let wrappings = [
        "SQL error: ",
        "Error during planning: ",
        "This feature is not implemented: ",
        "Execution error: ",
        "Schema error: ",
        "Internal error: ",
        "type_coercion",
        "caused by",
    ];
    while let Some(rest) = wrappings.iter().find_map(|wrapping| text.trim_start().strip_prefix(wrapping)) {
        text = rest;
    }
    let mut text = text.trim();
    for wrapping in ["ParserError(\"", "TokenizerError(\""] {
        text = text.strip_prefix(wrapping).map_or(text, |inner| inner.trim_end_matches(')').trim_end_matches('"'));
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(300).collect()
}

/// From a place in lines and columns (of characters, from 1) to bytes.
fn byte_offset(sql: &str, place: Location) -> Option<usize> {
    let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(place.column).ok()?.checked_sub(1)?;
    let start: usize = sql.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = &sql[start..];
    Some(start + rest.char_indices().nth(column).map_or(rest.len(), |(byte, _)| byte))
}
