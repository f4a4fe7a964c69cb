//! How large a statement is once its WITH clauses are written out, told without writing them out.
//!
//! The planner puts a copy of a WITH clause wherever it is named. Sixty clauses that each name the
//! one before twice are four lines of text and 2⁶⁰ copies, and planning them cannot be interrupted.
//! The optimizer writes stacked projections into one expression, so that twenty clauses of 190
//! additions are one of 3,800, for whose names alone it takes gigabytes. CUBE over twenty columns
//! is a million groupings.
//!
//! Upstream: apache/datafusion#22936 and #22229 (expressions without a limit of depth), #8900. It
//! goes when DataFusion limits the size of a plan while it makes it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, ObjectName, Query, Select, SelectItem, Statement, Visit, Visitor,
};
use headframe_query_front::QueryError;

/// Tables, subqueries and wildcards that a statement may have when it is written out.
pub const MAX_RELATIONS: u64 = 1_000;
/// Expressions that it may have then.
pub const MAX_EXPRESSIONS: u64 = 1_000_000;
/// How many WITH clauses may stand upon each other.
pub const MAX_WITH_DEPTH: u64 = 100;
/// How deep its expressions may nest when each column is written out as what it is made of.
pub const MAX_EXPRESSION_DEPTH: u64 = 400;
/// Groupings that CUBE, ROLLUP and GROUPING SETS may make of one GROUP BY.
pub const MAX_GROUPING_SETS: u64 = 4_096;

/// A size; sums that do not fit stay at the largest number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    relations: u64,
    expressions: u64,
    /// WITH clauses that stand upon each other.
    depth: u64,
    /// Expressions that stand inside each other, through all its relations.
    nesting: u64,
    /// The most groupings of one GROUP BY.
    groupings: u64,
}

impl Size {
    fn add(&mut self, other: Size) {
        self.relations = self.relations.saturating_add(other.relations);
        self.expressions = self.expressions.saturating_add(other.expressions);
        self.depth = self.depth.max(other.depth);
        self.nesting = self.nesting.max(other.nesting);
        self.groupings = self.groupings.max(other.groupings);
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
    if size.nesting > MAX_EXPRESSION_DEPTH {
        return refused(format!(
            "the statement nests its expressions {} deep when its WITH clauses are written out, \
             more than {MAX_EXPRESSION_DEPTH}",
            size.nesting
        ));
    }
    if size.groupings > MAX_GROUPING_SETS {
        return refused(format!(
            "the statement groups in {} ways at once, more than {MAX_GROUPING_SETS}",
            size.groupings
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
    /// Its nesting is that of its relations and subqueries.
    size: Size,
    /// Expressions of its own that are being walked, one inside the other.
    open: u64,
    /// The most that were.
    deepest: u64,
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
        let Some(scope) = self.scopes.pop() else {
            return ControlFlow::Continue(());
        };
        let mut size = scope.size;
        size.nesting = size.nesting.saturating_add(scope.deepest);
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
            groupings: groupings(&select.group_by),
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
        if let Some(scope) = self.scopes.last_mut() {
            scope.open += 1;
            scope.deepest = scope.deepest.max(scope.open);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        if let Some(scope) = self.scopes.last_mut() {
            scope.open = scope.open.saturating_sub(1);
        }
        ControlFlow::Continue(())
    }
}

/// How many groupings a GROUP BY makes: those of its items, each with each.
fn groupings(group_by: &GroupByExpr) -> u64 {
    let GroupByExpr::Expressions(items, _) = group_by else {
        return 1;
    };
    let sets = |item: &Expr| match item {
        Expr::Cube(columns) => u32::try_from(columns.len())
            .ok()
            .and_then(|columns| 2_u64.checked_pow(columns))
            .unwrap_or(u64::MAX),
        Expr::Rollup(columns) => columns.len() as u64 + 1,
        Expr::GroupingSets(sets) => sets.len() as u64,
        _ => 1,
    };
    items.iter().map(sets).fold(1, u64::saturating_mul)
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

    #[test]
    fn expressions_nest_through_clauses_and_groupings_multiply() {
        let sum = format!("SELECT a{} AS a FROM {{}}", " + 1".repeat(99));
        let one = size(&chain(2, &sum));
        assert_eq!(one.nesting, 1 + 100 + 1, "1, the sum, and a count");
        assert!(size(&chain(5, &sum)).nesting > MAX_EXPRESSION_DEPTH);
        let beside = format!("SELECT a + 1{} FROM t", ", a + 1".repeat(500));
        assert_eq!(size(&beside).nesting, 2);
        let inner = "SELECT (SELECT max(a + 1) FROM t) FROM t";
        assert!(size(inner).nesting >= 3);
        let cube = |columns| format!("SELECT 1 FROM t GROUP BY CUBE ({columns}), ROLLUP (x, y)");
        assert_eq!(size(&cube("a, b, c")).groupings, 8 * 3);
        let sets = size("SELECT 1 FROM t GROUP BY GROUPING SETS ((a), (b), ()), c");
        assert_eq!(sets.groupings, 3);
        assert_eq!(size("SELECT 1 FROM t GROUP BY a, b").groupings, 1);
        let columns: Vec<String> = (0..20).map(|column| format!("c{column}")).collect();
        let parsed = Parser::parse_sql(&GenericDialect {}, &cube(&columns.join(", "))).unwrap();
        let error = check(&parsed[0]).unwrap_err();
        assert!(error.message.contains("3145728 ways"), "{}", error.message);
    }
}
