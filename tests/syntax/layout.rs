//! The layout of `pipe fmt`, text in and text out.

use super::properties::check;

/// Formats, and holds the answer against what every answer must be.
fn layout(text: &str) -> String {
    check(text).unwrap_or_else(|| panic!("not KDL: {text}"))
}

#[test]
fn words_are_parted_by_one_space_and_blocks_by_four() {
    let text = "a   \"b\"  c = 1\t( t ) 2\n  ( u )  d{\n e\n   f { g;h }\n}";
    insta::assert_snapshot!(layout(text), @r#"
    a "b" c=1 (t)2
    (u)d {
        e
        f { g; h }
    }
    "#);
}

#[test]
fn spellings_are_kept() {
    let text = "a 0x1F 1_000 1.50 1e3 -0 \"x\" x #\"r\"# ##\"r\"##\n\"a\" \"\\u{41}\\t\" #true #null";
    insta::assert_snapshot!(layout(text), @r###"
    a 0x1F 1_000 1.50 1e3 -0 "x" x #"r"# ##"r"##
    "a" "\u{41}\t" #true #null
    "###);
}

#[test]
fn one_empty_line_at_most_and_none_at_the_ends_of_blocks() {
    insta::assert_snapshot!(layout("\n\n\na {\n\n\n  b\n\n\n\n  c\n\n}\n\n\nd\n\n\n"), @r#"
    a {
        b

        c
    }

    d
    "#);
    assert_eq!(layout(""), "");
    assert_eq!(layout("\n\n"), "");
    assert_eq!(layout("a"), "a\n");
}

#[test]
fn comments_stay_at_their_node() {
    let text = "// top\na 1 // behind\n/* above */\nb /* between */ 2 /* last */\nc { // at the brace\n// inside\n  d // it\n\
                // at the end\n} // closed\n/* before */ e; /* of f */ f; // of f too\n/* many\n   lines */\ng\n// end";
    insta::assert_snapshot!(layout(text), @r#"
    // top
    a 1 // behind
    /* above */
    b /* between */ 2 /* last */
    c { // at the brace
        // inside
        d // it
        // at the end
    } // closed
    /* before */ e
    /* of f */ f // of f too
    /* many
       lines */
    g
    // end
    "#);
}

#[test]
fn comments_inside_of_words_stay() {
    insta::assert_snapshot!(layout("(/*a*/ t /*b*/ )/*c*/ n k /*d*/ = /*e*/ 1 { /*f*/ }\nx { /*g*/ y /*h*/; /*i*/ }"), @r#"
    (/*a*/ t /*b*/)/*c*/ n k /*d*/=/*e*/ 1 { /*f*/ }
    x { /*g*/ y /*h*/ /*i*/ }
    "#);
}

#[test]
fn what_slashdash_comments_out_is_formatted_too() {
    let text = "/-  a {\n b\n}\nc /- 1  /-k = 2 3 /- {\n d\n} {\n  e\n}\n/- // why\n\nf\n/-\ng\nh /- // why\n 1 2";
    insta::assert_snapshot!(layout(text), @r#"
    /-a {
        b
    }
    c /-1 /-k=2 3 /-{
        d
    } {
        e
    }
    /- // why
        f
    /-g
    h /- // why
        1 2
    "#);
}

#[test]
fn a_block_on_one_line_stays_where_it_fits() {
    insta::assert_snapshot!(layout("a { b; c 1;}\nd {b {c;};e}\nf {\n g\n}\nh {}\ni {\n}"), @r#"
    a { b; c 1 }
    d { b { c }; e }
    f {
        g
    }
    h {}
    i {}
    "#);
    let long = format!("a {{ b {{ c }}; d \"{}\"; e {{ f; }} }}", "x".repeat(90));
    insta::assert_snapshot!(layout(&long), @r#"
    a {
        b { c }
        d "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        e { f }
    }
    "#);
}

#[test]
fn nodes_on_one_line_get_lines_of_their_own() {
    insta::assert_snapshot!(layout("a; b 1; c { d; e }; f"), @r#"
    a
    b 1
    c { d; e }
    f
    "#);
}

#[test]
fn continued_lines_stay_continued() {
    let text = "a 1 \\\n 2 \\ // why\n        3 \\\n\\\n 4 \\\n{\n  b \\\n 5\n}\nc k = \\\n 1\nd \\\n\n\\\ne \\ // at the end\n\nf";
    insta::assert_snapshot!(layout(text), @r#"
    a 1 \
        2 \ // why
        3 \
        4 {
        b \
            5
    }
    c k=1
    d

    e // at the end
    f
    "#);
}

#[test]
fn lines_of_a_string_move_with_their_node() {
    let text = "a {\nb \"\"\"\n  one\n    two\n\n  \"\"\" 2\n c #\"\"\"\n\t\tx \\\n\t\t  y\n   \n\t\t\"\"\"#\n}\n\
                d \"\"\"\n   one \\\n two\n   \"\"\"\ne #\"\"\"\n  \\\n  \"\"\"#";
    insta::assert_snapshot!(layout(text), @r##"
    a {
        b """
            one
              two

            """ 2
        c #"""
            x \
              y

            """#
    }
    d """
       one \
     two
       """
    e #"""
        \
        """#
    "##);
}

#[test]
fn line_ends_are_newlines_and_no_mark_is_at_the_start() {
    assert_eq!(
        layout("\u{feff}a 1 // c\r\nb \"\"\"\r\n  x\r\n  y\r\n  \"\"\"\r\n/* d\r\n e */ c\r\n"),
        "a 1 // c\nb \"\"\"\n    x\n    y\n    \"\"\"\n/* d\n e */ c\n"
    );
}
