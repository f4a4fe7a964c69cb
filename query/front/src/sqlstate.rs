//! The five characters by which PostgreSQL's clients know an error.

/// SQLSTATEs that this server tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlState {
    /// 08P01: a message that the protocol does not know.
    ProtocolViolation,
    /// 0A000: something PostgreSQL has and this server has not.
    FeatureNotSupported,
    /// 22003: a number that its type cannot hold.
    NumericOutOfRange,
    /// 22012: a division by zero.
    DivisionByZero,
    /// 22023: a setting that cannot have this value.
    InvalidParameterValue,
    /// 22P02: text that is no value of its type.
    InvalidText,
    /// 22P03: bytes that are no value of their type.
    InvalidBinary,
    /// 22000: the statement failed on the data.
    DataException,
    /// 25P02: the transaction has failed and must be ended.
    FailedTransaction,
    /// 26000: no such prepared statement.
    UndefinedStatement,
    /// 28000: this user may not come in this way.
    InvalidAuthorization,
    /// 28P01: a wrong user or password.
    InvalidPassword,
    /// 34000: no such portal or cursor.
    UndefinedCursor,
    /// 42000: the statement cannot be planned.
    SyntaxOrAccess,
    /// 42501: not allowed.
    InsufficientPrivilege,
    /// 42601: not SQL.
    Syntax,
    /// 42702: a column of two tables.
    AmbiguousColumn,
    /// 42703: no such column.
    UndefinedColumn,
    /// 42704: no such setting.
    UndefinedObject,
    /// 42P01: no such table.
    UndefinedTable,
    /// 42P02: a parameter has no value.
    UndefinedParameter,
    /// 42P03: a cursor of this name is open.
    DuplicateCursor,
    /// 42P05: a statement of this name is prepared.
    DuplicateStatement,
    /// 53200: more memory than allowed.
    OutOfMemory,
    /// 53300: too many connections or statements.
    TooManyConnections,
    /// 53400: more than a session may hold.
    LimitExceeded,
    /// 54000: larger than allowed.
    ProgramLimit,
    /// 57014: cancelled, or out of time.
    QueryCanceled,
    /// 57P01: the server stops.
    AdminShutdown,
    /// 57P03: not ready for statements.
    CannotConnectNow,
    /// 57P05: silent for too long.
    IdleSessionTimeout,
    /// 58000: the worker or the storage failed.
    SystemError,
    /// XX000: our fault.
    Internal,
}

impl SqlState {
    /// Every state that an engine may give to an error, beside those of its code.
    const FROM_ENGINES: &[SqlState] = &[
        SqlState::FeatureNotSupported,
        SqlState::NumericOutOfRange,
        SqlState::DivisionByZero,
        SqlState::InvalidText,
        SqlState::AmbiguousColumn,
        SqlState::UndefinedColumn,
        SqlState::UndefinedTable,
        SqlState::UndefinedParameter,
    ];

    /// The five characters.
    pub fn as_str(self) -> &'static str {
        match self {
            SqlState::ProtocolViolation => "08P01",
            SqlState::FeatureNotSupported => "0A000",
            SqlState::NumericOutOfRange => "22003",
            SqlState::DivisionByZero => "22012",
            SqlState::InvalidParameterValue => "22023",
            SqlState::InvalidText => "22P02",
            SqlState::InvalidBinary => "22P03",
            SqlState::DataException => "22000",
            SqlState::FailedTransaction => "25P02",
            SqlState::UndefinedStatement => "26000",
            SqlState::InvalidAuthorization => "28000",
            SqlState::InvalidPassword => "28P01",
            SqlState::UndefinedCursor => "34000",
            SqlState::SyntaxOrAccess => "42000",
            SqlState::InsufficientPrivilege => "42501",
            SqlState::Syntax => "42601",
            SqlState::AmbiguousColumn => "42702",
            SqlState::UndefinedColumn => "42703",
            SqlState::UndefinedObject => "42704",
            SqlState::UndefinedTable => "42P01",
            SqlState::UndefinedParameter => "42P02",
            SqlState::DuplicateCursor => "42P03",
            SqlState::DuplicateStatement => "42P05",
            SqlState::OutOfMemory => "53200",
            SqlState::TooManyConnections => "53300",
            SqlState::LimitExceeded => "53400",
            SqlState::ProgramLimit => "54000",
            SqlState::QueryCanceled => "57014",
            SqlState::AdminShutdown => "57P01",
            SqlState::CannotConnectNow => "57P03",
            SqlState::IdleSessionTimeout => "57P05",
            SqlState::SystemError => "58000",
            SqlState::Internal => "XX000",
        }
    }

    /// The state of an engine's error by its characters.
    pub fn find(characters: &str) -> Option<Self> {
        let mut all = Self::FROM_ENGINES.iter().copied();
        all.find(|state| state.as_str() == characters)
    }
}
