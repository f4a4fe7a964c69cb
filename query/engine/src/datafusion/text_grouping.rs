//! Grouping by names as if they were numbers.
//!
//! Most questions about mining group by miner, worker or site: long strings, of which there are
//! few. Stored files keep them as dictionaries, and a decoded column of them is a list of views
//! that point to the same few places. Here each distinct string gets a number before rows are
//! grouped, found by the place it lies at and not by its bytes, and the strings come back after the
//! groups are made. The numbers are shared by all parts of a plan, so that partial groups meet
//! under the same number.
//!
//! Upstream: apache/datafusion#7647 (dictionaries are written out before they are grouped) and
//! #24822 (grouping by a dictionary is slower than by text). It goes when DataFusion groups a
//! dictionary's keys.

use std::fmt::{Debug, Display, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, MAX_INLINE_VIEW_LEN, StringViewArray, UInt32Array};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, UInt32Type};
use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, HashMap, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};

mod relied;

use relied::is_relied_below;

/// Places remembered for each thread that reads a column.
const SLOTS: usize = 4_096;
/// Threads that can look up places of one column without waiting for each other.
const CACHES: usize = 8;
/// Buffers, and bytes of them, that a cache holds before it starts anew.
const MAX_HELD: usize = 64;
const MAX_HELD_BYTES: usize = 8 << 20;
/// What a name costs beyond its bytes: its entry in the map and in the list.
const ENTRY_BYTES: usize = 64;

/// The plan with every grouping by text columns done by number. `pool` pays for the names.
pub fn by_number(
    plan: Arc<dyn ExecutionPlan>,
    pool: &Arc<dyn MemoryPool>,
) -> Result<Arc<dyn ExecutionPlan>> {
    descend(plan, false, pool)
}

/// The same below a node. Groups that are made by number lie in other partitions than their names
/// would: where something above relies on the partition of a name, they are made by name.
fn descend(
    node: Arc<dyn ExecutionPlan>,
    relied_on: bool,
    pool: &Arc<dyn MemoryPool>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let relied_below = is_relied_below(&node, relied_on);
    let children: Vec<Arc<dyn ExecutionPlan>> = node
        .children()
        .into_iter()
        .map(|child| descend(child.clone(), relied_below, pool))
        .collect::<Result<_>>()?;
    let is_same = (node.children().into_iter().zip(&children)).all(|(a, b)| Arc::ptr_eq(a, b));
    let node = match is_same {
        true => node,
        false => node.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )?,
    };
    match relied_on {
        true => Ok(node),
        false => Ok(rewritten(&node, pool)?.unwrap_or(node)),
    }
}

/// The two halves of a grouping, or its only one twice, and what lies between them, outermost
/// first.
fn halves(top: &AggregateExec) -> Option<(&AggregateExec, Vec<&Arc<dyn ExecutionPlan>>)> {
    match top.mode() {
        AggregateMode::Single | AggregateMode::SinglePartitioned => Some((top, Vec::new())),
        AggregateMode::Final | AggregateMode::FinalPartitioned => {
            let mut between = Vec::new();
            let mut at = top.input();
            while at.downcast_ref::<RepartitionExec>().is_some()
                || at.downcast_ref::<CoalescePartitionsExec>().is_some()
            {
                between.push(at);
                at = at.children().first().copied()?;
            }
            let bottom = at
                .downcast_ref::<AggregateExec>()
                .filter(|bottom| *bottom.mode() == AggregateMode::Partial)?;
            Some((bottom, between))
        }
        _ => None,
    }
}

fn rewritten(
    node: &Arc<dyn ExecutionPlan>,
    pool: &Arc<dyn MemoryPool>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(top) = node.downcast_ref::<AggregateExec>() else {
        return Ok(None);
    };
    let Some((bottom, between)) = halves(top) else {
        return Ok(None);
    };
    let plain = |half: &AggregateExec| {
        half.group_expr().is_single()
            && half.limit_options().is_none()
            && *half.input_order_mode() == InputOrderMode::Linear
    };
    if !plain(top) || !plain(bottom) {
        return Ok(None);
    }
    let names = names(bottom);
    if names.iter().all(Option::is_none) {
        return Ok(None);
    }
    let interners: Vec<Option<Arc<Interner>>> = names
        .iter()
        .map(|name| name.map(|_| Arc::new(Interner::new(pool))))
        .collect();
    let input = with_numbers(bottom.input(), &names, &interners)?;
    let over = |half: &AggregateExec, child: Arc<dyn ExecutionPlan>| {
        let (groups, aggregates, filters) = (
            half.group_expr().clone(),
            half.aggr_expr().to_vec(),
            half.filter_expr().to_vec(),
        );
        AggregateExec::try_new(
            *half.mode(),
            groups,
            aggregates,
            filters,
            child,
            input.schema(),
        )
    };
    let mut plan: Arc<dyn ExecutionPlan> = Arc::new(over(bottom, input.clone())?);
    if !std::ptr::eq(top, bottom) {
        for step in between.into_iter().rev() {
            plan = step.clone().replace_children(
                vec![plan],
                ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
            )?;
        }
        plan = Arc::new(over(top, plan)?);
    }
    Ok(Some(with_names(plan, &node.schema(), &interners)?))
}

/// The input with the numbers of the names instead of the text columns that are grouped by.
fn with_numbers(
    input: &Arc<dyn ExecutionPlan>,
    names: &[Option<usize>],
    interners: &[Option<Arc<Interner>>],
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = input.schema();
    let numbered = schema.fields().iter().enumerate().map(|(index, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), index));
        let interner = names
            .iter()
            .position(|name| *name == Some(index))
            .and_then(|group| interners[group].clone());
        let expr = match interner {
            Some(interner) => Arc::new(Number { column, interner }) as Arc<dyn PhysicalExpr>,
            None => column,
        };
        (expr, field.name().clone())
    });
    let numbered = ProjectionExec::try_new(numbered.collect::<Vec<_>>(), input.clone())?;
    Ok(Arc::new(numbered))
}

/// The groups with their names again instead of the numbers.
fn with_names(
    plan: Arc<dyn ExecutionPlan>,
    schema: &Schema,
    interners: &[Option<Arc<Interner>>],
) -> Result<Arc<dyn ExecutionPlan>> {
    let named = schema.fields().iter().enumerate().map(|(index, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), index));
        let expr = match interners.get(index).cloned().flatten() {
            Some(interner) => Arc::new(Name {
                column,
                interner,
                field: field.clone(),
            }) as Arc<dyn PhysicalExpr>,
            None => column,
        };
        (expr, field.name().clone())
    });
    let named = ProjectionExec::try_new(named.collect::<Vec<_>>(), plan)?;
    Ok(Arc::new(named))
}

/// For each group expression, the text column of the input that it is; `None` where it is anything
/// else or is read elsewhere too.
fn names(bottom: &AggregateExec) -> Vec<Option<usize>> {
    let groups = bottom.group_expr().expr();
    let schema = bottom.input().schema();
    let column = |expr: &Arc<dyn PhysicalExpr>| {
        let column = expr.downcast_ref::<Column>()?;
        (schema.field(column.index()).data_type() == &DataType::Utf8View).then_some(column.index())
    };
    let aggregates = bottom.aggr_expr().iter().flat_map(|aggregate| {
        let all = aggregate.all_expressions();
        all.args.into_iter().chain(all.order_by_exprs)
    });
    let filters = bottom.filter_expr().iter().flatten().cloned();
    let other_groups = groups
        .iter()
        .filter(|(expr, _)| column(expr).is_none())
        .map(|(expr, _)| expr.clone());
    let elsewhere: Vec<usize> = aggregates
        .chain(filters)
        .chain(other_groups)
        .flat_map(|expr| collect_columns(&expr))
        .map(|column| column.index())
        .collect();
    let mut seen = Vec::new();
    let once = |(expr, _): &(Arc<dyn PhysicalExpr>, String)| {
        let index =
            column(expr).filter(|index| !elsewhere.contains(index) && !seen.contains(index))?;
        seen.push(index);
        Some(index)
    };
    groups.iter().map(once).collect()
}

/// Numbers for names, shared by all threads of one query.
struct Interner {
    known: Mutex<Known>,
    caches: [Mutex<Cache>; CACHES],
}

struct Known {
    numbers: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
    memory: MemoryReservation,
}

/// Which name lies where. Holding the buffers keeps their addresses from being given to others.
struct Cache {
    held: Vec<Buffer>,
    held_bytes: usize,
    slots: Vec<(u128, u32)>,
}

impl Interner {
    fn new(pool: &Arc<dyn MemoryPool>) -> Self {
        let memory = MemoryConsumer::new("names").register(pool);
        let cache = || {
            Mutex::new(Cache {
                held: Vec::new(),
                held_bytes: 0,
                slots: Vec::new(),
            })
        };
        Self {
            known: Mutex::new(Known {
                numbers: HashMap::new(),
                names: Vec::new(),
                memory,
            }),
            caches: std::array::from_fn(|_| cache()),
        }
    }

    fn numbers(&self, names: &StringViewArray) -> Result<UInt32Array> {
        let mut cache = self.cache();
        cache.hold(names.data_buffers());
        let starts: Vec<u64> = names
            .data_buffers()
            .iter()
            .map(|buffer| buffer.as_ptr() as u64)
            .collect();
        let mut known: Option<MutexGuard<'_, Known>> = None;
        let mut numbers = Vec::with_capacity(names.len());
        for (row, view) in names.views().iter().enumerate() {
            // The view of a null is anything, even that of another name.
            if names.is_null(row) {
                numbers.push(0);
                continue;
            }
            let place = place(*view, &starts);
            let mixed = (place as u64 ^ (place >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let slot = &mut cache.slots[(mixed >> 52) as usize % SLOTS];
            if slot.0 != place {
                *slot = (
                    place,
                    known
                        .get_or_insert_with(|| lock(&self.known))
                        .number(names.value(row))?,
                );
            }
            numbers.push(slot.1);
        }
        Ok(UInt32Array::new(numbers.into(), names.nulls().cloned()))
    }

    fn names(&self, numbers: &UInt32Array) -> StringViewArray {
        let known = lock(&self.known);
        // Every number was given out by this interner.
        numbers
            .iter()
            .map(|number| {
                number
                    .and_then(|number| known.names.get(number as usize))
                    .map(|name| name.as_ref())
            })
            .collect()
    }

    /// A cache nobody uses now, or the first one in turn.
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.caches
            .iter()
            .find_map(|cache| cache.try_lock().ok())
            .unwrap_or_else(|| lock(&self.caches[0]))
    }
}

/// What tells a name from all others as long as its buffer lives: its length and first letters, and
/// the rest of a short one or the address of a long one.
fn place(view: u128, starts: &[u64]) -> u128 {
    if view as u32 <= MAX_INLINE_VIEW_LEN {
        return view;
    }
    let (buffer, offset) = ((view >> 64) as u32 as usize, (view >> 96) as u64);
    // A view points into one of the buffers of its own array.
    let address = starts.get(buffer).copied().unwrap_or_default() + offset;
    (u128::from(address) << 64) | u128::from(view as u64)
}

impl Cache {
    /// Holds these buffers too; forgets everything when that would be too many.
    fn hold(&mut self, buffers: &[Buffer]) {
        let new = |held: &[Buffer], buffer: &Buffer| {
            !held
                .iter()
                .any(|held| held.as_ptr() == buffer.as_ptr() && held.len() == buffer.len())
        };
        if self.slots.is_empty() || self.held.len() > MAX_HELD || self.held_bytes > MAX_HELD_BYTES {
            // No view has this length.
            self.slots.clear();
            self.slots.resize(SLOTS, (u128::MAX, 0));
            self.held.clear();
            self.held_bytes = 0;
        }
        for buffer in buffers {
            if new(&self.held, buffer) {
                self.held_bytes += buffer.capacity();
                self.held.push(buffer.clone());
            }
        }
    }
}

impl Known {
    fn number(&mut self, name: &str) -> Result<u32> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        let number = u32::try_from(self.names.len())
            .map_err(|_| DataFusionError::Execution("more than 4 billion names".to_owned()))?;
        self.memory.try_grow(name.len() + ENTRY_BYTES)?;
        let name: Arc<str> = name.into();
        self.numbers.insert(name.clone(), number);
        self.names.push(name);
        Ok(number)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A text column as numbers.
struct Number {
    column: Arc<dyn PhysicalExpr>,
    interner: Arc<Interner>,
}

/// The text that numbers stand for, as the field it was.
struct Name {
    column: Arc<dyn PhysicalExpr>,
    interner: Arc<Interner>,
    field: FieldRef,
}

/// What a column must be, or an error that no user can cause.
fn typed<'a, T>(array: &'a ArrayRef, column: Option<&'a T>) -> Result<&'a T> {
    column.ok_or_else(|| {
        DataFusionError::Internal(format!("a grouped column is {}", array.data_type()))
    })
}

macro_rules! same_column {
    ($name:ident, $shown:literal) => {
        impl Display for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($shown, "({})"), self.column)
            }
        }
        impl Debug for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
                Display::fmt(self, f)
            }
        }
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.column.eq(&other.column) && Arc::ptr_eq(&self.interner, &other.interner)
            }
        }
        impl Eq for $name {}
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.column.hash(state);
            }
        }
    };
}
same_column!(Number, "number");
same_column!(Name, "name");

impl PhysicalExpr for Number {
    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        let field = self.column.return_field(schema)?;
        Ok(Arc::new(Field::new(
            field.name(),
            DataType::UInt32,
            field.is_nullable(),
        )))
    }
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        let numbers = self
            .interner
            .numbers(typed(&array, array.as_string_view_opt())?)?;
        Ok(ColumnarValue::Array(Arc::new(numbers)))
    }
    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }
    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let column = children.pop().unwrap_or_else(|| self.column.clone());
        Ok(Arc::new(Self {
            column,
            interner: self.interner.clone(),
        }))
    }
    fn fmt_sql(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        Display::fmt(self, f)
    }
}

impl PhysicalExpr for Name {
    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        Ok(self.field.clone())
    }
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        let names = self
            .interner
            .names(typed(&array, array.as_primitive_opt::<UInt32Type>())?);
        Ok(ColumnarValue::Array(Arc::new(names)))
    }
    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }
    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let column = children.pop().unwrap_or_else(|| self.column.clone());
        Ok(Arc::new(Self {
            column,
            interner: self.interner.clone(),
            field: self.field.clone(),
        }))
    }
    fn fmt_sql(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        Display::fmt(self, f)
    }
}
