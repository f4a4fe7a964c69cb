//! How large a statement is once its WITH clauses are written out, told without writing them out.
//!
//! The planner puts a copy of a WITH clause wherever it is named. Sixty clauses that each name the
//! one before twice are four lines of text and 2⁶⁰ copies, and planning them cannot be interrupted.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, Select, SelectItem, Statement, Visit, Visitor,
};
use headframe_query_front::QueryError;

/// Tables, subqueries and wildcards that a statement may have when it is written out.
pub const MAX_RELATIONS: u64 = 1_000;
/// Expressions that it may have then.
pub const MAX_EXPRESSIONS: u64 = 1_000_000;
/// How many WITH clauses may stand upon each other.
pub const MAX_WITH_DEPTH: u64 = 100;

/// A size; sums that do not fit stay at the largest number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    relations: u64,
    expressions: u64,
    /// WITH clauses that stand upon each other.
    depth: u64,
}

impl Size {
    fn add(&mut self, other: Size) {
        self.relations = self.relations.saturating_add(other.relations);
        self.expressions = self.expressions.saturating_add(other.expressions);
        self.depth = self.depth.max(other.depth);
    }
}

/// Refuses a statement that would be too large.
pub fn check(statement: &Statement) -> Result<(), QueryError> {
    let size = measure(statement);
    let hint = "name each WITH clause fewer times, or ask in several statements";
    let refused = |what: String| Err(QueryError::bad_request(what, hint));
    if size.depth > MAX_WITH_DEPTH {
        return refused(format!(
            "the statement stacks {} WITH clauses upon each other, more than {MAX_WITH_DEPTH}",
            size.depth
        ));
    }
    if size.relations > MAX_RELATIONS {
        return refused(format!(
            "the statement reads {} tables and subqueries when its WITH clauses are written out, \
             more than {MAX_RELATIONS}",
            size.relations
        ));
    }
    if size.expressions > MAX_EXPRESSIONS {
        return refused(format!(
            "the statement has {} expressions when its WITH clauses are written out, more than \
             {MAX_EXPRESSIONS}",
            size.expressions
        ));
    }
    Ok(())
}

/// The size of a statement that is written out.
pub fn measure(statement: &Statement) -> Size {
    let mut measure = Measure {
        scopes: vec![Scope::default()],
    };
    // It never breaks off.
    let _ = statement.visit(&mut measure);
    measure.scopes.pop().unwrap_or_default().size
}

/// A query that is being walked.
#[derive(Default)]
struct Scope {
    size: Size,
    /// The queries of its WITH clauses by their place in memory, with their names.
    names: HashMap<*const Query, String>,
    /// The sizes of those that were walked.
    known: HashMap<String, Size>,
}

struct Measure {
    /// Outermost first; never empty.
    scopes: Vec<Scope>,
}

impl Measure {
    fn add(&mut self, size: Size) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.size.add(size);
        }
    }
}

impl Visitor for Measure {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let clauses = query.with.iter().flat_map(|with| &with.cte_tables);
        let name = |name: &str| name.to_lowercase();
        let names = clauses.map(|clause| {
            let place: *const Query = &*clause.query;
            (place, name(&clause.alias.name.value))
        });
        self.scopes.push(Scope {
            names: names.collect(),
            ..Scope::default()
        });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let Some(mut size) = self.scopes.pop().map(|scope| scope.size) else {
            return ControlFlow::Continue(());
        };
        size.relations = size.relations.saturating_add(1);
        let place: *const Query = query;
        let clause = self.scopes.last_mut().and_then(|scope| {
            let name = scope.names.get(&place)?.clone();
            Some((scope, name))
        });
        match clause {
            Some((scope, name)) => {
                size.depth = size.depth.saturating_add(1);
                scope.known.insert(name, size);
            }
            None => self.add(size),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let wildcard = |item: &&SelectItem| {
            matches!(
                item,
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
            )
        };
        let wildcards = select.projection.iter().filter(wildcard).count();
        self.add(Size {
            relations: wildcards as u64,
            ..Size::default()
        });
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let one = Size {
            relations: 1,
            ..Size::default()
        };
        let size = match relation.0.as_slice() {
            [name] => {
                let name = name.to_string().trim_matches('"').to_lowercase();
                let scopes = self.scopes.iter().rev();
                let known = scopes.filter_map(|scope| scope.known.get(&name)).next();
                known.copied().unwrap_or(one)
            }
            _ => one,
        };
        self.add(size);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.add(Size {
            expressions: 1,
            ..Size::default()
        });
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn size(sql: &str) -> Size {
        let parsed = Parser::parse_sql(&GenericDialect {}, sql).unwrap();
        measure(&parsed[0])
    }

    fn chain(length: usize, next: &str) -> String {
        let clauses: Vec<String> = (1..length)
            .map(|number| {
                let before = format!("c{}", number - 1);
                format!("c{number} AS ({})", next.replace("{}", &before))
            })
            .collect();
        format!(
            "WITH c0 AS (SELECT 1 AS a), {} SELECT count(*) FROM c{}",
            clauses.join(", "),
            length - 1
        )
    }

    #[test]
    fn clauses_count_as_often_as_they_are_named() {
        let one = size("SELECT a FROM t");
        assert_eq!((one.relations, one.expressions, one.depth), (2, 1, 0));
        let twice = size("WITH x AS (SELECT a FROM t) SELECT 1 FROM x, X AS y");
        assert_eq!((twice.relations, twice.depth), (5, 1));
        let unused = size("WITH x AS (SELECT a FROM t) SELECT 1 FROM t");
        assert_eq!((unused.relations, unused.depth), (2, 0));
        let inner = size("SELECT 1 FROM (WITH x AS (SELECT 1) SELECT * FROM x) AS q, x");
        assert_eq!(inner.relations, 5, "outside it is a table");
    }

    #[test]
    fn doubling_and_chained_clauses_are_refused_by_name() {
        let refusal = |sql: &str| {
            let parsed = Parser::parse_sql(&GenericDialect {}, sql).unwrap();
            check(&parsed[0]).map_err(|error| error.message)
        };
        let doubling = chain(60, "SELECT x.a FROM {} AS x, {} AS y");
        let said = refusal(&doubling).unwrap_err();
        assert!(said.contains("more than 1000"), "{said}");
        let chained = refusal(&chain(3_000, "SELECT a FROM {}")).unwrap_err();
        assert!(chained.contains("2999 WITH clauses") || chained.contains("3000 WITH clauses"));
        assert_eq!(refusal(&chain(50, "SELECT a FROM {}")), Ok(()));
        let wide = format!("SELECT {} FROM t", vec!["*"; 2_000].join(", "));
        assert!(refusal(&wide).unwrap_err().contains("more than 1000"));
    }
}
