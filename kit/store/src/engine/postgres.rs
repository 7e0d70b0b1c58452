//! PostgreSQL: connecting, session settings, and values.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use futures::future::ready;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{
    PgArgumentBuffer, PgArguments, PgConnectOptions, PgConnection, PgRow, PgTypeInfo, PgValueFormat, PgValueRef,
};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, ConnectOptions as _, Decode, Either, Encode, Executor as _, Postgres, Row as _,
    Type, TypeInfo as _, ValueRef as _,
};
use tokio::time::{Instant, sleep, timeout};

use super::{Conn, Role, RunError, Target};
use crate::error::StoreError;
use crate::options::Synchronous;
use crate::value::{Row, Value};

/// The oldest server version that is tested (as `server_version_num`).
const OLDEST_VERSION: i64 = 120_000;

/// The server ends a transaction that is idle for this long, and so frees the lease row that a paused process has locked.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);

const STATEMENT_CACHE: usize = 512;

const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Keys that a URL may carry after `?`. Anything else is a mistake that would otherwise be ignored in silence.
const KNOWN_KEYS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

pub(super) fn parse(url: &str) -> Result<(String, PgConnectOptions), StoreError> {
    if let Some((_, query)) = url.split_once('?') {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let key = pair.split('=').next().unwrap_or_default();
            if !KNOWN_KEYS.contains(&key) && !key.starts_with("options[") && !key.starts_with("options%5B") {
                return Err(StoreError::Url { reason: format!("unknown parameter {key:?}") });
            }
        }
    }
    // The parser's own message is not passed on: it may quote the URL.
    let options =
        PgConnectOptions::from_str(url).map_err(|_| StoreError::Url { reason: "it is not a valid PostgreSQL URL".to_owned() })?;
    let database = options.get_database().unwrap_or_else(|| options.get_username()).to_owned();
    let place = match options.get_socket() {
        Some(socket) => format!("PostgreSQL database {database:?} at {}", socket.display()),
        None => format!("PostgreSQL database {database:?} at {}:{}", options.get_host(), options.get_port()),
    };
    let options = options.statement_cache_capacity(STATEMENT_CACHE).disable_statement_logging();
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("windlass"),
    };
    Ok((place, options))
}

/// Connects within the time limit; an unreachable or starting server is tried again until then.
pub(super) async fn connect(target: &Target, options: &PgConnectOptions, role: Role) -> Result<PgConnection, StoreError> {
    let deadline = Instant::now() + target.connect_time_limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let attempt = timeout(left.max(RETRY_PAUSE), connect_once(target, options, role)).await;
        let error = match attempt {
            Ok(Ok(conn)) => return Ok(conn),
            Ok(Err(error)) => target.error(role, "connect", error),
            Err(_) => StoreError::Unavailable {
                place: target.place.to_string(),
                source: Arc::new(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
            },
        };
        let retry = matches!(error, StoreError::Unavailable { .. });
        if !retry || Instant::now() + RETRY_PAUSE >= deadline {
            return Err(error);
        }
        tracing::debug!(place = %target.place, %error, "connecting failed; trying again");
        sleep(RETRY_PAUSE).await;
    }
}

/// The settings make the server notice quickly that this process is gone or stopped, and give its locks to others.
/// (`client_connection_check_interval` exists since version 14.)
async fn connect_once(target: &Target, options: &PgConnectOptions, role: Role) -> Result<PgConnection, sqlx::Error> {
    let mut conn = options.connect().await?;
    let lock_ms = target.busy_time_limit.as_millis();
    let idle_ms = IDLE_IN_TRANSACTION.as_millis();
    let mut settings = format!(
        "SET lock_timeout = {lock_ms}; SET idle_in_transaction_session_timeout = {idle_ms}; \
         SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; \
         SELECT set_config('client_connection_check_interval', '2000', false) \
         WHERE current_setting('client_connection_check_interval', true) IS NOT NULL;"
    );
    match (role, target.synchronous) {
        (Role::Reader, _) => settings.push_str("SET default_transaction_read_only = on"),
        (Role::Writer, Synchronous::Off) => settings.push_str("SET synchronous_commit = off"),
        // A server may have been tuned to answer commits early. Stronger settings than `on` are left as they are.
        (Role::Writer, Synchronous::Full) => settings.push_str(
            "SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') IN ('off', 'local')",
        ),
    }
    batch(&mut conn, &settings).await?;
    Ok(conn)
}

/// Refuses servers that cannot carry a store.
pub(super) async fn check(target: &Target, conn: &mut Conn) -> Result<(), StoreError> {
    const SQL: &str = "SELECT current_setting('server_version_num')::bigint AS version, current_schema() AS schema, \
                       current_setting('server_encoding') AS encoding";
    let (rows, _) = conn.run("", SQL, Vec::new()).await.map_err(|error| error.into_store(target, Role::Writer, SQL))?;
    let unsupported = |detail: &str| StoreError::Unsupported { place: target.place.to_string(), detail: detail.to_owned() };
    let row = rows.first().ok_or_else(|| unsupported("the server did not tell its version"))?;
    if row.get::<i64>("version")? < OLDEST_VERSION {
        return Err(unsupported("the server is older than PostgreSQL 12"));
    }
    if row.get::<String>("encoding")? != "UTF8" {
        return Err(unsupported("the database must have the encoding UTF8"));
    }
    if row.get::<Option<String>>("schema")?.is_none() {
        return Err(unsupported("no schema of the search path exists"));
    }
    Ok(())
}

/// A null whose type the server takes from the statement.
struct UntypedNull;

impl Type<Postgres> for UntypedNull {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for UntypedNull {
    fn encode_by_ref(&self, _buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

fn arguments(params: Vec<Value>) -> Result<PgArguments, RunError> {
    let mut arguments = PgArguments::default();
    for (index, value) in params.into_iter().enumerate() {
        match value {
            Value::Null => arguments.add(UntypedNull),
            Value::Integer(number) => arguments.add(number),
            Value::Text(text) => arguments.add(text),
            Value::Blob(bytes) => arguments.add(bytes),
            Value::TooLarge(number) => return Err(super::statement::too_large(index, number).into()),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

pub(super) async fn run(conn: &mut PgConnection, sql: &str, params: Vec<Value>) -> Result<(Vec<Row>, u64), RunError> {
    let arguments = arguments(params)?;
    let mut results = conn.fetch_many(sqlx::query_with(AssertSqlSafe(sql), arguments));
    let mut rows = Vec::new();
    let mut columns = None;
    let mut changed = 0;
    while let Some(item) = results.try_next().await? {
        match item {
            Either::Left(done) => changed = done.rows_affected(),
            Either::Right(row) => {
                let columns = columns.get_or_insert_with(|| column_names(&row));
                rows.push(decode(&row, columns)?);
            }
        }
    }
    Ok((rows, changed))
}

pub(super) async fn batch(conn: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    let mut results = conn.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql)));
    while results.try_next().await?.is_some() {}
    Ok(())
}

pub(super) fn stream<'c>(conn: &'c mut PgConnection, sql: &str) -> BoxStream<'c, Result<Row, RunError>> {
    let mut columns = None;
    conn.fetch_many(sqlx::query_with(AssertSqlSafe(sql), PgArguments::default()))
        .map_err(RunError::from)
        .try_filter_map(move |item| {
            ready(match item {
                Either::Left(_) => Ok(None),
                Either::Right(row) => decode(&row, columns.get_or_insert_with(|| column_names(&row))).map(Some),
            })
        })
        .boxed()
}

fn column_names(row: &PgRow) -> Arc<[String]> {
    row.columns().iter().map(|column| column.name().to_owned()).collect()
}

fn decode(row: &PgRow, columns: &Arc<[String]>) -> Result<Row, RunError> {
    let mut values = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        values.push(decode_value(row.try_get_raw(index)?, column)?);
    }
    Ok(Row::new(Arc::clone(columns), values))
}

fn decode_value(raw: PgValueRef<'_>, column: &str) -> Result<Value, RunError> {
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info().name().to_owned();
    let unsupported = || StoreError::UnsupportedColumn { column: column.to_owned(), database_type: kind.clone() };
    let value = match kind.as_str() {
        "INT8" => <i64 as Decode<Postgres>>::decode(raw).map(Value::Integer),
        "INT4" => <i32 as Decode<Postgres>>::decode(raw).map(Value::from),
        "INT2" => <i16 as Decode<Postgres>>::decode(raw).map(Value::from),
        "BOOL" => <bool as Decode<Postgres>>::decode(raw).map(Value::from),
        "TEXT" | "VARCHAR" | "NAME" | "CHAR" | "UNKNOWN" => <String as Decode<Postgres>>::decode(raw).map(Value::Text),
        "BYTEA" => <Vec<u8> as Decode<Postgres>>::decode(raw).map(Value::Blob),
        // `sum` of a BIGINT column is NUMERIC here and an integer on SQLite.
        "NUMERIC" if raw.format() == PgValueFormat::Binary => {
            let whole = whole_numeric(raw.as_bytes().map_err(sqlx::Error::Decode)?);
            return whole.map(Value::Integer).ok_or_else(|| unsupported().into());
        }
        _ => return Err(unsupported().into()),
    };
    value.map_err(|error| sqlx::Error::Decode(error).into())
}

/// Reads PostgreSQL's binary NUMERIC when it is a whole number of 64 bits.
///
/// Layout: number of digits, weight of the first, sign, display scale (16 bits each), then digits of base 10 000.
fn whole_numeric(bytes: &[u8]) -> Option<i64> {
    const NEGATIVE: i16 = 0x4000;
    let mut words = bytes.chunks_exact(2).map(|pair| match pair {
        [high, low] => i16::from_be_bytes([*high, *low]),
        _ => 0,
    });
    let (count, weight, sign, _scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if sign != 0 && sign != NEGATIVE {
        return None;
    }
    let mut total: i128 = 0;
    for position in 0..i32::from(count.max(0)) {
        let digit = i128::from(words.next()?);
        let exponent = i32::from(weight).checked_sub(position)?;
        match u32::try_from(exponent) {
            Ok(exponent) => {
                let unit = 10_000_i128.checked_pow(exponent)?;
                total = total.checked_add(digit.checked_mul(unit)?)?;
            }
            // Digits after the point.
            Err(_) if digit == 0 => {}
            Err(_) => return None,
        }
    }
    i64::try_from(if sign == NEGATIVE { total.checked_neg()? } else { total }).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn numeric(words: &[i16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn whole_numbers_are_read_from_numeric() {
        assert_eq!(whole_numeric(&numeric(&[0, 0, 0, 0])), Some(0));
        assert_eq!(whole_numeric(&numeric(&[1, 0, 0, 0, 42])), Some(42));
        // 30 000 is the digit 3 with weight 1.
        assert_eq!(whole_numeric(&numeric(&[1, 1, 0, 0, 3])), Some(30_000));
        assert_eq!(whole_numeric(&numeric(&[2, 1, 0x4000, 0, 3, 7])), Some(-30_007));
        // i64::MAX
        assert_eq!(whole_numeric(&numeric(&[5, 4, 0, 0, 922, 3372, 368, 5477, 5807])), Some(i64::MAX));
        assert_eq!(whole_numeric(&numeric(&[5, 4, 0, 0, 922, 3372, 368, 5477, 5808])), None);
        // 0.5, NaN, and a text cut short
        assert_eq!(whole_numeric(&numeric(&[1, -1, 0, 1, 5000])), None);
        assert_eq!(whole_numeric(&numeric(&[0, 0, -0x4000, 0])), None);
        assert_eq!(whole_numeric(&numeric(&[2, 0, 0, 0, 1])), None);
    }

    #[test]
    fn the_place_has_no_user_and_no_password() {
        let (place, _) = parse("postgres://alice:s3cret@db.example:6543/money?sslmode=require").unwrap();
        assert_eq!(place, "PostgreSQL database \"money\" at db.example:6543");
    }

    #[test]
    fn a_wrong_url_is_not_repeated() {
        for url in ["postgres://alice:s3cret@db:notaport/x", "postgres://alice:s3cret@db/x?slmode=require"] {
            let error = parse(url).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(!text.contains("s3cret") && !text.contains("alice"), "{text}");
        }
    }
}
