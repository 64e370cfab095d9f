//! Files as people have them, with `--flatten`: nothing is lost on the way into columns.

use std::fs;

use super::cases::folder;
use super::world::World;

/// The members of each row with `--flatten`, as they are written: those of the result, then those of the input.
const FLAT: &[(&str, &[&str])] = &[
    (
        "big-ints.jsonl",
        &[
            r#""id":"9007199254740993","input.id":"9007199254740993"}"#,
            r#""id":"18446744073709551615","input.id":"18446744073709551615"}"#,
            r#""id":"123456789012345678901234567890","input.id":"123456789012345678901234567890"}"#,
            r#""id":"-9223372036854775809","input.id":"-9223372036854775809"}"#,
            r#""x":"0.1000000000000000055511151231257827","y":"1e400","z":1.10,"n":-0,"m":-0.0,"#,
        ],
    ),
    ("flat-case.jsonl", &[r#""Id":1,"id":2,"ID":3,"Status":"own","Number":7,"input.Id":1,"#, r#""id":4,"#]),
    ("flat-duplicate.jsonl", &[r#""k":2,"input.k":2}"#, r#""k":3,"input.k":3}"#]),
    (
        "flat-names.jsonl",
        &[concat!(
            r#""":1,"a.b":2,"a b":3,"a\nb":4,"é":5,"result_result":6,"result_result_x":7,"result_status":8,"x":9,"#,
            r#""__proto__":10,"\u0000":11,"a,\"b\"":12,"input.":1,"#
        )],
    ),
    (
        "flat-numbers.jsonl",
        &[
            r#""id":"9007199254740993","u":"18446744073709551615","mix":"9007199254740993","h":"123456789012345678901234567890","#,
            r#""id":"9007199254740995","u":1,"mix":0.5,"h":1,"dec":1.10,"f":1,"#,
            r#""id":"-9223372036854775808","u":2,"mix":2,"h":2,"dec":100.00,"f":1e2,"#,
        ],
    ),
    (
        "flat-types.jsonl",
        &[
            r#""t":1,"l":[1,2],"o":{"a":1},"b":true,"n":null,"when":"2024-02-29T23:59:60Z","e":"","input.t":1,"#,
            r#""t":"one","l":"x","o":null,"b":0,"n":null,"when":1709251200,"#,
            r#""t":null,"input.t":null}"#,
            r#""result":[1,2],"input":[1,2]}"#,
            r#""result":"text","input":"text"}"#,
            r#""result":7,"input":7}"#,
            r#""result":null,"input":null}"#,
            r#""t":2.5,"input.t":2.5}"#,
        ],
    ),
];

/// In lines a number that a double does not give back is a string; a table has the number's own digits.
#[test]
fn flattened_values_lose_nothing() {
    let world = World::new();
    for (file, rows) in FLAT {
        let text = fs::read_to_string(folder().join(file)).unwrap();
        world.write(file, &text);
        let flat = |output: &str| {
            let line = format!(
                "batch run --input {file} --output {output} --force --flatten --include-input -- cat"
            );
            let ran = world.afn(&line);
            assert_eq!(ran.code, 0, "{ran:#?}");
        };
        flat("flat.jsonl");
        let out = world.read("flat.jsonl");
        assert_eq!(out.lines().count(), rows.len(), "{out}");
        for (line, row) in out.lines().zip(*rows) {
            assert!(line.contains(&format!("\",{row}")), "{file}: {line}\nis not\n{row}");
        }
        flat("flat.csv");
        let csv = world.read("flat.csv");
        for number in text.split([':', ',', '}']).filter(|value| value.parse::<f64>().is_ok()) {
            assert!(csv.contains(number), "{file}: {number} is not in\n{csv}");
        }
    }
    // A table of Parquet is read back as a source.
    let numbers = world.afn("batch run --input flat-numbers.jsonl --output flat.parquet --flatten -- cat");
    assert_eq!(numbers.code, 0, "{numbers:#?}");
    let back = world.afn("batch run --input flat.parquet --output - --flatten -- cat");
    assert_eq!(back.code, 0, "{back:#?}");
    let read = [
        r#""id":"9007199254740993","u":"18446744073709551615","mix":"9007199254740993.0","h":"123456789012345678901234567890","dec":"x","f":0.1"#,
        r#""id":"9007199254740995","u":"1","mix":"0.5","h":"1","dec":"1.10","f":1"#,
        r#""id":"-9223372036854775808","u":"2","mix":"2.0","h":"2","dec":"100.00","f":100"#,
    ];
    for (line, members) in back.stdout.lines().zip(read) {
        assert!(line.contains(members), "{line}\nhas not\n{members}");
    }
    assert_eq!(back.stdout.lines().count(), 3);
}
