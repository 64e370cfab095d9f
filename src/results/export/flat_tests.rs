//! Rows with `--flatten`: names and types of the columns, and no changed digit in any format.

use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::record::Field;
use bytes::Bytes;

use super::members::{Members, MembersOf};
use super::*;
use crate::layout::chunk::Record;
use crate::layout::table::ColumnKind;
use crate::model::json_object::{Member, members};
use crate::results::batch::fixture::{Made, batch_at, row};
use crate::results::fixture::{NOW, World};
use crate::results::rows;

#[test]
fn a_columns_type_holds_all_its_values() {
    let mut columns = Members::new(MembersOf::Result);
    let results = [
        r#"{"i":1,"d":1,"b":true,"mixed":1,"null":null,"deep":{"x":[1]},"a\"b, c":1,"result_x":1,"input.x":0}"#,
        r#"{"i":-2,"d":0.5,"b":false,"mixed":"x","null":null,"deep":1,"error":1,"x":9007199254740993}"#,
    ];
    for result in results {
        columns.add(&members(result.as_bytes()).expect("an object")).expect("few columns");
    }
    let names: Vec<String> = columns.columns().map(|column| column.name).collect();
    let own = [
        "i",
        "d",
        "b",
        "mixed",
        "null",
        "deep",
        "a\"b, c",
        "result_result_x",
        "result_input.x",
        "result_error",
        "x",
    ];
    assert_eq!(names, own);
    use ColumnKind::{Boolean, Double, Int64, Text};
    let kinds = [Int64, Double, Boolean, Text, Text, Text, Int64, Int64, Int64, Int64, Int64];
    assert_eq!(columns.columns().map(|column| column.kind).collect::<Vec<_>>(), kinds);
    let values = columns.of(members(results[1].as_bytes()));
    assert_eq!((values[3], values[4], values[6]), (Some("\"x\""), None, None));
    let many: Vec<Member<'_>> = (0..1_001).map(|n| Member { name: n.to_string(), json: "1" }).collect();
    let error = Members::new(MembersOf::Input).add(&many).expect_err("too many");
    assert!(error.message().contains("the payloads have more than 1000"), "{error}");
    assert_eq!(MembersOf::Input.column("n"), "input.n");
    assert_eq!(MembersOf::Result.column("source"), "result_source");
}

#[test]
fn numbers_widen_to_what_gives_each_back() {
    use ColumnKind::{Boolean, Decimal, Double, Int64, Text};
    let longest = "9".repeat(38);
    for (values, kind) in [
        (&["1", "null", "-9223372036854775808"][..], Int64),
        (&["1", "0.5", "9007199254740992", "1e2", "-0"], Double),
        (&["9007199254740993", "0.5", "2"], Decimal { scale: 1 }),
        (&["18446744073709551615", "1"], Decimal { scale: 0 }),
        (&["-9223372036854775809", "1.00"], Decimal { scale: 0 }),
        (&["0.1000000000000000055511151231257827"], Decimal { scale: 34 }),
        (&[&longest], Decimal { scale: 0 }),
        (&[&longest, "0.5"], Text),
        (&["9007199254740993", "-0"], Text),
        (&["1e400"], Text),
        (&["1", "\"1\""], Text),
        (&["1", "true"], Text),
        (&["true", "null", "false"], Boolean),
        (&["true", "\"x\""], Text),
        (&["null"], Text),
        (&["[1]"], Text),
    ] {
        let mut columns = Members::new(MembersOf::Result);
        for json in values {
            columns.add(&[Member { name: "n".to_owned(), json }]).expect("one column");
        }
        assert_eq!(columns.columns().next().map(|column| column.kind), Some(kind), "{values:?}");
    }
}

const RESULTS: [&str; 3] = [
    r#"{"id":9007199254740993,"u":18446744073709551615,"mix":9007199254740993,"x":1e400,"t":"a","f":0.1,"y":1.10}"#,
    r#"{"id":-9223372036854775808,"u":1,"mix":0.5,"x":-0,"t":9007199254740993,"f":1,"y":0.30000000000000004}"#,
    r#"{"id":3,"u":123456789012345678901234567890,"mix":-2,"x":7,"t":[ 18446744073709551615,
1.50 ],"f":1e2}"#,
];

/// The payload of each call is its result, and one more member.
async fn written(format: Format) -> Vec<u8> {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    let records: Vec<Record> = (1..=3)
        .map(|number| Record {
            number,
            payload: format!(r#"{{"n":{}}}"#, 9_007_199_254_740_992 + number).into(),
            ..Record::default()
        })
        .collect();
    made.records(&records).await;
    let rows: Vec<_> = (1..)
        .zip(RESULTS)
        .map(|(number, result)| {
            let mut row = row(number, State::Success);
            row.result = RowResult::Inline(Bytes::from_static(result.as_bytes()));
            row
        })
        .collect();
    made.part(3, &rows).await;
    made.sealed(3, &[]).await;
    let options = rows::Options { input: true, ..rows::Options::default() };
    let rows = Rows::open(&world.deps, made.id, options).await.expect("rows");
    let (mut out, options) = (Vec::new(), Options { flatten: true, ..Options::default() });
    to_writer(&world.deps, rows, &mut out, format, options).await.expect("written");
    out
}

/// What a double does not give back is a string in JSON.
#[tokio::test]
async fn no_digit_changes_in_lines() {
    let out = String::from_utf8(written(Format::JsonLines).await).expect("text");
    let ends = [
        r#","id":"9007199254740993","u":"18446744073709551615","mix":"9007199254740993","x":"1e400","t":"a","f":0.1,"y":1.10,"input.n":"9007199254740993"}"#,
        r#","id":"-9223372036854775808","u":1,"mix":0.5,"x":-0,"t":"9007199254740993","f":1,"y":0.30000000000000004,"input.n":9007199254740994}"#,
        r#","id":3,"u":"123456789012345678901234567890","mix":-2,"x":7,"t":[ 18446744073709551615, 1.50 ],"f":1e2,"input.n":"9007199254740995"}"#,
    ];
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3);
    for (line, end) in lines.iter().zip(ends) {
        assert!(line.ends_with(end), "{line}\nis not\n{end}");
    }
}

#[tokio::test]
async fn no_digit_changes_in_a_table_of_text() {
    let out = String::from_utf8(written(Format::Csv).await).expect("text");
    let ends = [
        ",worker,id,u,mix,x,t,f,y,result,result_base64,error,input.n,input,input_base64",
        ",worker-1,9007199254740993,18446744073709551615,9007199254740993,1e400,a,0.1,1.10,,,,9007199254740993,,",
        ",worker-1,-9223372036854775808,1,0.5,-0,9007199254740993,1,0.30000000000000004,,,,9007199254740994,,",
        ",worker-1,3,123456789012345678901234567890,-2,7,\"[ 18446744073709551615, 1.50 ]\",1e2,,,,,9007199254740995,,",
    ];
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4);
    for (line, end) in lines.iter().zip(ends) {
        assert!(line.ends_with(end), "{line}\nis not\n{end}");
    }
}

#[tokio::test]
async fn no_digit_changes_in_parquet() {
    let file = SerializedFileReader::new(Bytes::from(written(Format::Parquet).await)).expect("a table");
    let shown: Vec<BTreeMap<String, String>> = file
        .get_row_iter(None)
        .expect("rows")
        .map(|row| {
            let row = row.expect("a row");
            row.get_column_iter().map(|(name, field)| (name.clone(), shown(field))).collect()
        })
        .collect();
    let column = |name: &str| shown.iter().map(|row| row[name].as_str()).collect::<Vec<_>>();
    assert_eq!(column("id"), ["Long 9007199254740993", "Long -9223372036854775808", "Long 3"]);
    assert_eq!(
        column("u"),
        ["Decimal 18446744073709551615", "Decimal 1", "Decimal 123456789012345678901234567890"]
    );
    assert_eq!(column("mix"), ["Decimal 9007199254740993.0", "Decimal 0.5", "Decimal -2.0"]);
    assert_eq!(column("x"), ["Str 1e400", "Str -0", "Str 7"]);
    assert_eq!(column("t"), ["Str a", "Str 9007199254740993", "Str [ 18446744073709551615, 1.50 ]"]);
    assert_eq!(column("f"), ["Double 0.1", "Double 1", "Double 100"]);
    assert_eq!(column("y"), ["Double 1.1", "Double 0.30000000000000004", "Null"]);
    let inputs = [9_007_199_254_740_993_u64, 9_007_199_254_740_994, 9_007_199_254_740_995];
    assert_eq!(column("input.n"), inputs.map(|n| format!("Long {n}")));
    assert_eq!(column("input"), ["Null"; 3]);
}

fn shown(field: &Field) -> String {
    match field {
        Field::Long(number) => format!("Long {number}"),
        Field::Double(number) => format!("Double {number}"),
        Field::Str(text) => format!("Str {text}"),
        Field::Decimal(decimal) => {
            let unscaled = i128::from_be_bytes(decimal.data().try_into().expect("16 bytes"));
            let scale = decimal.scale() as usize;
            let digits = format!("{:0width$}", unscaled.abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let point = if scale > 0 { "." } else { "" };
            format!("Decimal {}{whole}{point}{fraction}", if unscaled < 0 { "-" } else { "" })
        }
        Field::Null => "Null".to_owned(),
        other => format!("{other:?}"),
    }
}
