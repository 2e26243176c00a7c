/** RocketMQ's SQL filter: what it takes, what it refuses and where, and that nothing about it depends on luck. */
import fc from 'fast-check';
import { GantryError } from '../../src/base/errors';
import { LIMITS } from '../../src/base/limits';
import { decodeMessage, encodeMessage } from '../../src/broker/message';
import { printSql, type SqlCondition, type SqlNode } from '../../src/broker/sqlExpression';
import { canonicalSql, parseSql, type FilteredAttributes } from '../../src/broker/sqlFilter';
import { parseSqlCondition } from '../../src/broker/sqlParser';
import { coded } from '../support/broker';

const takes = (expression: string, message: FilteredAttributes) => parseSql(expression).matches(message);

/** One message that all expressions of the first tables are asked about. */
const MESSAGE: FilteredAttributes = {
  tag: 'sale',
  keys: ['order-7', 'k2'],
  properties: {
    n: '5',
    d: '2.5',
    neg: '-3',
    exp: '1e3',
    big: '9007199254740993',
    long: '9223372036854775807',
    text: 'hello world',
    quote: "it's",
    empty: '',
    yes: 'true',
    Yes: 'TRUE',
    no: 'false',
    city: 'Zürich 😀',
    same: '5',
    five: '5.0',
    blank: ' 5 ',
    plus: '+5',
    hex: '0x5',
    java: '5d',
    nan: 'NaN',
    infinity: 'Infinity',
    huge: '1e999',
    _under: '1',
    $money: '2',
    a1$_: '3',
    tags: 'lower',
    'a/b': '1',
    'user-id': '7',
    'back`tick "quote"': 'q',
    and: 'a keyword',
    like: 'liked',
    list: ',c1,c2,',
    percent: '100%_!',
    TAGS: 'a property, never seen',
    KEYS: 'nor this one',
  },
};

describe.each<[chapter: string, taken: string[], left: string[]]>([
  [
    '= and <> with text',
    [
      "text = 'hello world'",
      "'hello world' = text",
      "text='hello world'",
      "text <> 'Hello world'",
      "empty = ''",
      "text <> ''",
      "quote = 'it''s'",
      "city = 'Zürich 😀'",
      "n = '5'",
      "n <> '5.0'",
      'n = same',
      'n <> five',
      'n <> text',
      "'a' = 'a'",
      "'a' <> 'b'",
    ],
    [
      "text = 'hello'",
      "text = 'HELLO WORLD'",
      "text <> 'hello world'",
      "n <> '5'",
      "n = '5.0'",
      'n <> same',
      'n = five',
      "'a' = 'b'",
      "missing = 'x'",
      "missing <> 'x'",
      "'x' = missing",
      "'x' <> missing",
      'missing = missing',
      'missing = gone',
      'missing <> text',
      'text <> missing',
      "empty = ' '",
      "city = 'Zürich'",
    ],
  ],
  [
    '= and <> with numbers',
    [
      'n = 5',
      '5 = n',
      'n = 5.0',
      'n = 5.',
      'n = 5L',
      'n = 5l',
      'n = 0.5e1',
      'n = 50E-1',
      'n = +5',
      'five = 5',
      'blank = 5',
      'plus = 5',
      'd = 2.5',
      'd <> 2',
      'neg = -3',
      'neg <> 3',
      'neg = -(3)',
      'neg = - 3',
      'neg = +-3',
      'n = -(-5)',
      'exp = 1000',
      'exp = 1e3',
      'exp = 1E+3',
      'big = 9007199254740993',
      'big <> 9007199254740992',
      'big <> 9007199254740994',
      'long = 9223372036854775807',
      'long <> 9223372036854775806',
      'n <> 0L',
      '1 = 1',
      '1 <> 2',
      '1.0 = 1',
      '_under = 1',
      '$money = 2',
      'a1$_ = 3',
    ],
    [
      'n = 6',
      'n <> 5',
      'n = -5',
      'd = 2',
      'big = 9007199254740992',
      'long = 9223372036854775806',
      'text = 5',
      'text <> 5',
      'empty = 0',
      'empty <> 0',
      'hex = 5',
      'hex <> 5',
      'java = 5',
      'java <> 6',
      'nan <> 5',
      'infinity <> 5',
      'missing = 5',
      'missing <> 5',
      '1 = 2',
      '1 <> 1',
    ],
  ],
  [
    '= and <> with TRUE and FALSE',
    [
      'yes = TRUE',
      'yes = true',
      'Yes = TRUE',
      'TRUE = yes',
      'yes <> FALSE',
      'no = FALSE',
      'no <> TRUE',
      'text = FALSE',
      'TRUE = TRUE',
      'TRUE <> FALSE',
      '(n > 3) = TRUE',
      '(n > 9) = FALSE',
      '(n > 3) = (d > 2)',
      '(n > 3) = yes',
      'no <> (n > 3)',
    ],
    ['yes = FALSE', 'no = TRUE', 'text = TRUE', 'missing = TRUE', 'missing = FALSE', 'missing <> TRUE', 'TRUE = FALSE'],
  ],
  [
    '< <= > >=',
    [
      'n < 6',
      'n <= 5',
      'n <= 5.5',
      'n > 4',
      'n > 4.999',
      'n >= 5',
      '4 < n',
      '6 > n',
      '5 <= n',
      '5 >= n',
      'n > -5',
      'neg < 0',
      'neg < -2',
      'neg > -3.5',
      'd > 2',
      'd < n',
      'n > d',
      'n >= same',
      'n <= five',
      'exp > 999',
      'exp >= 1e3',
      'big > 9007199254740992',
      'big < 9007199254740994',
      'huge > 1e300',
      'n > .5',
      '2 > 1',
      '(n) > (4)',
    ],
    [
      'n < 5',
      'n > 5',
      'n <= 4',
      'n >= 6',
      'n < missing',
      'missing < 5',
      'missing > 5',
      'missing >= missing',
      'text > 5',
      'text < 5',
      'n > text',
      'text > missing',
      'empty < 1',
      'neg > 0',
      'big > 9007199254740993',
      'big < 9007199254740993',
      'nan > 5',
      'infinity > 5',
      'hex < 9',
      '2 < 1',
    ],
  ],
  [
    'BETWEEN',
    [
      'n BETWEEN 5 AND 5',
      'n BETWEEN 1 AND 5',
      'n BETWEEN 5 AND 9',
      'n between 4.5 and 5.5',
      'd BETWEEN 2 AND 3',
      'neg BETWEEN -5 AND -1',
      'n BETWEEN d AND 9',
      'n BETWEEN 1 AND exp',
      'n BETWEEN d AND exp',
      '3 BETWEEN d AND n',
      'n NOT BETWEEN 6 AND 9',
      'n NOT BETWEEN 1 AND 4',
      'n NOT BETWEEN missing AND 4',
      'n not between 6 and missing',
      'n BETWEEN 1 AND 5 AND d BETWEEN 2 AND 3',
    ],
    [
      'n BETWEEN 6 AND 9',
      'n BETWEEN 1 AND 4',
      'n NOT BETWEEN 5 AND 5',
      'n NOT BETWEEN 1 AND 9',
      'n NOT BETWEEN missing AND 9',
      'n BETWEEN missing AND 9',
      'n BETWEEN 1 AND missing',
      'missing BETWEEN 1 AND 9',
      'missing NOT BETWEEN 1 AND 9',
      'text BETWEEN 1 AND 9',
      'text NOT BETWEEN 1 AND 9',
      'n BETWEEN 1 AND text',
    ],
  ],
  [
    'IN',
    [
      "text IN ('hello world')",
      "text IN ('a', 'hello world', 'b')",
      "n IN ('4','5','6')",
      "n in('5')",
      "empty IN ('')",
      "quote IN ('it''s')",
      "n IN ('5', '5')",
      "n NOT IN ('4', '6')",
      "five NOT IN ('5')",
      "TAGS IN ('sale', 'return')",
      "(n) IN ('5')",
    ],
    [
      "text IN ('hello')",
      "text IN ('HELLO WORLD')",
      "n IN ('5.0')",
      "n NOT IN ('5')",
      "missing IN ('x')",
      "missing NOT IN ('x')",
      "missing IN ('')",
      "TAGS IN ('SALE')",
    ],
  ],
  [
    'IS NULL',
    [
      'missing IS NULL',
      'missing is null',
      'text IS NOT NULL',
      'empty IS NOT NULL',
      'NULL IS NULL',
      '1 IS NOT NULL',
      "'x' IS NOT NULL",
      '(missing > 5) IS NULL',
      '(n > 5) IS NOT NULL',
      "(missing = 'x') IS NULL",
      'TAGS IS NOT NULL',
      'KEYS IS NOT NULL',
    ],
    ['missing IS NOT NULL', 'text IS NULL', 'empty IS NULL', 'NULL IS NOT NULL', 'TAGS IS NULL', '(text > 5) IS NULL'],
  ],
  [
    'CONTAINS, STARTSWITH, ENDSWITH',
    [
      "text CONTAINS 'lo wo'",
      "text CONTAINS 'hello world'",
      "text STARTSWITH 'hello'",
      "text ENDSWITH 'world'",
      "text startswith 'h'",
      "city CONTAINS '😀'",
      "city STARTSWITH 'Zü'",
      "quote CONTAINS ''''",
      "text NOT CONTAINS 'HELLO'",
      "text NOT STARTSWITH 'world'",
      "text NOT ENDSWITH 'hello'",
      "empty NOT CONTAINS 'x'",
      "n CONTAINS '5'",
      "KEYS CONTAINS 'k2'",
      "KEYS STARTSWITH 'order-7 '",
      "TAGS ENDSWITH 'ale'",
      "NOT (text CONTAINS '')",
    ],
    [
      "text CONTAINS 'x'",
      "text CONTAINS 'Hello'",
      "text STARTSWITH 'ello'",
      "text ENDSWITH 'worl'",
      "text CONTAINS 'hello world!'",
      "text NOT CONTAINS 'hello'",
      "text NOT STARTSWITH 'hello'",
      "text NOT ENDSWITH 'world'",
      "text CONTAINS ''",
      "text NOT CONTAINS ''",
      "text STARTSWITH ''",
      "text NOT ENDSWITH ''",
      "missing CONTAINS 'x'",
      "missing NOT CONTAINS 'x'",
      "NOT (missing CONTAINS 'x')",
      "NOT (missing NOT ENDSWITH 'x')",
    ],
  ],
  [
    'LIKE, which RocketMQ lacks',
    [
      "list LIKE '%,c2,%'",
      "text LIKE 'hello%'",
      "text LIKE '%world'",
      "text LIKE 'h%o%w%d'",
      "text LIKE 'hello_world'",
      "text LIKE '___________'",
      "text LIKE '%_'",
      "text LIKE '%o_w%'",
      "text LIKE 'hello world'",
      "text LIKE '%'",
      "empty LIKE '%'",
      "empty LIKE ''",
      "text like '%%w%%'",
      "text NOT LIKE 'HELLO%'",
      "text NOT LIKE 'hello'",
      "city LIKE 'Z_rich _'",
      "percent LIKE '100!%!_!!' ESCAPE '!'",
      "percent LIKE '%😀%😀_%' escape '😀'",
      "quote LIKE 'it''s'",
      "like LIKE 'liked'",
      "TAGS LIKE 's%'",
      "n LIKE '5'",
      "`a/b` LIKE '_'",
    ],
    [
      "text LIKE 'Hello%'",
      "text LIKE 'hello'",
      "text LIKE 'hello world_'",
      "text LIKE '%hello'",
      "text LIKE 'hello%hello world'",
      "text LIKE 'h%l%lo%l%l%d'",
      "text LIKE ''",
      "text NOT LIKE '%'",
      "text NOT LIKE 'h%d'",
      "percent LIKE '100!%' ESCAPE '!'",
      "city LIKE 'Z_rich __'",
      "missing LIKE '%'",
      "missing NOT LIKE 'x'",
      "NOT (missing LIKE 'x')",
    ],
  ],
  [
    'names in quotes, which RocketMQ lacks',
    [
      '"a/b" = 1',
      '"user-id" = 7',
      '`user-id` = 7',
      "'7' = `user-id`",
      '`a/b` < `user-id`',
      '"n" = 5',
      '"back`tick ""quote""" = \'q\'',
      '`back``tick "quote"` = \'q\'',
      "`and` = 'a keyword'",
      '"like" = \'liked\'',
      "`TAGS` = 'sale'",
      '"not there" IS NULL',
      "`user-id` IN ('7', '8')",
    ],
    ['"User-id" = 7', '"not there" = 1', "`AND` = 'a keyword'"],
  ],
  [
    'TAGS and KEYS',
    ["TAGS = 'sale'", "KEYS = 'order-7 k2'", "tags = 'lower'", "TAGS <> 'a property, never seen'"],
    ["TAGS = 'SALE'", "KEYS = 'order-7'", "Tags = 'sale'", "keys = 'order-7 k2'"],
  ],
  [
    'precedence: OR below AND below NOT below comparisons',
    [
      'TRUE OR FALSE AND FALSE',
      'FALSE AND FALSE OR TRUE',
      'TRUE OR TRUE AND FALSE',
      'NOT FALSE AND TRUE',
      'NOT FALSE OR FALSE',
      'NOT TRUE OR TRUE',
      'NOT n = 6',
      'NOT n > 5',
      "NOT text IN ('x')",
      'NOT text IS NULL',
      'NOT NOT n = 5',
      'NOT NOT NOT n = 6',
      'NOT (n = 6 OR n = 7)',
      'n = 5 AND NOT d = 3 AND TRUE',
      'n NOT BETWEEN 6 AND 9 AND TRUE',
      '((((n = 5))))',
    ],
    [
      '(TRUE OR FALSE) AND FALSE',
      'NOT (FALSE OR TRUE)',
      'NOT TRUE AND FALSE',
      'NOT n = 5',
      'NOT missing IS NULL',
      'NOT n = 5 OR n = 6',
      'NOT (n = 5 AND d = 2.5)',
    ],
  ],
  [
    'blanks, comments and the case of keywords',
    [
      'n=5and d=2.5',
      'n = 5\tAND\r\nd = 2.5\f',
      '  \n n = 5 \t ',
      "n BeTwEeN 1 aNd 9 Or text cOnTaInS 'x'",
      '/* five */ n /**/ = /* * / */ 5 /***/',
      'n = -- the number\n5',
      'n = 5 -- the end',
      "text <> '-- no comment /* nor here */'",
      "'a\nb' = 'a\nb'",
      'n=5AND(d>2)',
    ],
    ["text = 'hello  world'", "text = ' hello world '"],
  ],
  [
    'a property that should be a number and is none',
    [
      // Decided before it is reached.
      'n = 5 OR text > 5',
      'NOT (n = 6 AND text > 5)',
      'n NOT BETWEEN 9 AND text',
    ],
    [
      'text > 5 OR n = 5',
      'NOT text > 5',
      'NOT (text > 5 AND n = 6)',
      'missing = 1 OR text > 5 OR TRUE',
      '(text > 5) = FALSE',
      '(n > 3) <> (text > 5)',
      '(text > 5) <> (n > 3)',
      '(text > 5) IS NOT NULL',
      '(text > 5) <> missing',
    ],
  ],
])('%s', (_, taken, left) => {
  test.each(taken)('takes the message: %s', (expression) => {
    expect(takes(expression, MESSAGE)).toBe(true);
  });
  test.each(left)('leaves it: %s', (expression) => {
    expect(takes(expression, MESSAGE)).toBe(false);
  });
});

describe('three-valued logic', () => {
  const T = 'TRUE';
  const F = 'FALSE';
  const N = 'NULL';
  /** The same values, come by in other ways. */
  const WAYS: Record<string, string[]> = { TRUE: [T, 'n = 5'], FALSE: [F, 'n = 6'], NULL: [N, 'missing = 5'] };
  const outcome = (expression: string) =>
    takes(expression, MESSAGE) ? T : takes(`(${expression}) IS NULL`, MESSAGE) ? N : F;

  test.each([
    [T, T, T, T],
    [T, F, F, T],
    [T, N, N, T],
    [F, T, F, T],
    [F, F, F, F],
    [F, N, F, N],
    [N, T, N, T],
    [N, F, F, N],
    [N, N, N, N],
  ])('%s with %s: AND is %s, OR is %s', (left, right, and, or) => {
    for (const one of WAYS[left]!) {
      for (const other of WAYS[right]!) {
        expect(outcome(`${one} AND ${other}`)).toBe(and);
        expect(outcome(`${one} OR ${other}`)).toBe(or);
        expect(outcome(`${T} AND ${one} AND ${other}`)).toBe(and);
        expect(outcome(`${F} OR ${one} OR ${other}`)).toBe(or);
      }
    }
  });

  test.each([
    [T, F],
    [F, T],
    [N, N],
  ])('NOT %s is %s', (value, not) => {
    for (const way of WAYS[value]!) expect(outcome(`NOT ${way}`)).toBe(not);
  });
});

describe('a message', () => {
  test('without tag, keys and properties has NULL in all of them', () => {
    for (const bare of [{}, { tag: '', keys: [], properties: {} }, { tag: undefined, keys: undefined }]) {
      expect(takes('TAGS IS NULL AND KEYS IS NULL AND a IS NULL', bare)).toBe(true);
      expect(takes("TAGS = 'a' OR TAGS <> 'a'", bare)).toBe(false);
      expect(takes('TRUE', bare)).toBe(true);
      expect(takes('FALSE OR NULL', bare)).toBe(false);
    }
  });

  test('that is stored can be asked as it is', () => {
    const record = encodeMessage(
      { body: 'x', text: true, tag: 'a', keys: ['k'], properties: { n: '5' } },
      { topic: 1, queueId: 0, messageId: Buffer.alloc(16), bornTimestamp: 0 },
    );
    expect(takes("TAGS = 'a' AND KEYS = 'k' AND n > 4", decodeMessage(record))).toBe(true);
  });

  test.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf'])(
    '%s is a name like others',
    (name) => {
      expect(takes(`${name} IS NULL`, { properties: {} })).toBe(true);
      expect(takes(`${name} CONTAINS 'o' OR ${name} <> 'x'`, { properties: {} })).toBe(false);
      const properties = JSON.parse(`{"${name}":"5"}`) as Record<string, string>;
      expect(takes(`${name} = 5 AND ${name} IS NOT NULL`, { properties })).toBe(true);
    },
  );

  test('may have long digits for a property, but not as a number', () => {
    const digits = (count: number) => ({ properties: { a: '1'.repeat(count) } });
    expect(takes('a > 1', digits(LIMITS.filterNumberCharacters))).toBe(true);
    expect(takes('a > 1', digits(LIMITS.filterNumberCharacters + 1))).toBe(false);
    expect(takes("a CONTAINS '11'", digits(16_000))).toBe(true);
  });
});

function refusal(expression: string): string {
  try {
    parseSql(expression);
  } catch (error) {
    expect(error).toMatchObject(coded('FILTER_INVALID'));
    const [location, ...others] = (error as GantryError).extras.errors!;
    expect(others).toEqual([]);
    expect(location).toMatchObject({ pointer: '/filter/expression' });
    expect((error as GantryError).message).toBe(`the SQL expression cannot be read at ${location!.detail}`);
    return location!.detail;
  }
  throw new Error(`not refused: ${expression}`);
}

describe('refused, with the place and what was expected', () => {
  const NAMED = 'IN, BETWEEN, LIKE, CONTAINS, STARTSWITH or ENDSWITH';
  test.each<[expression: string, character: number, what: string]>([
    ['', 1, 'expected a property or a value, found the end'],
    ['  \n', 4, 'expected a property or a value, found the end'],
    ['-- nothing', 11, 'expected a property or a value, found the end'],
    // conditions
    ['a', 1, 'expected a condition: a property alone is neither true nor false, for example a = TRUE'],
    ['(a)', 1, 'expected a condition: a property alone is neither true nor false, for example a = TRUE'],
    ["a = 1 AND 'x'", 11, 'expected a condition: a text alone is neither true nor false'],
    ['5 OR a = 1', 1, 'expected a condition: a number alone is neither true nor false'],
    ['NOT a', 5, 'expected a condition: a property alone is neither true nor false, for example a = TRUE'],
    ['a LIKE b', 8, 'expected text between single quotes, found "b"'],
    ["'a' LIKE 'a'", 1, 'expected a property before LIKE'],
    ["a LIKE 'x' ESCAPE 'ab'", 19, 'expected one character, found "ab"'],
    ["a LIKE 'x' ESCAPE ''", 19, 'expected one character, found ""'],
    ["a LIKE 'x!' ESCAPE '!'", 8, 'expected %, _ or ! behind each ! of the pattern'],
    ["a LIKE '!x' ESCAPE '!'", 8, 'expected %, _ or ! behind each ! of the pattern'],
    ["a LIKE 'x' ESCAPED '!'", 12, 'expected AND, OR or the end, found "ESCAPED"'],
    ["a `LIKE` 'x'", 3, 'expected an operator, found "`LIKE`"'],
    ['a + 1 = 2', 3, 'expected an operator, found "+"'],
    ['lower(a) = 1', 6, 'expected an operator, found "("'],
    ['a = 1 AND', 10, 'expected a property or a value, found the end'],
    ['AND a = 1', 1, 'expected a property or a value, found "AND"'],
    ['a = 1 AND OR b = 2', 11, 'expected a property or a value, found "OR"'],
    ['a = 1 b = 2', 7, 'expected AND, OR or the end, found "b"'],
    ['a = b = c', 7, 'expected AND, OR or the end, found "="'],
    ['a = 1 IS NULL', 7, 'expected AND, OR or the end, found "IS"'],
    ['a = 1)', 6, 'expected AND, OR or the end, found ")"'],
    ['()', 2, 'expected a property or a value, found ")"'],
    ['(a = 1', 7, "expected AND, OR or ')', found the end"],
    ['(a', 3, "expected an operator or ')', found the end"],
    ['((a = 1) AND b = 2', 19, "expected AND, OR or ')', found the end"],
    ['NOT', 4, 'expected a property or a value, found the end'],
    // operators
    ['a =', 4, 'expected a property or a value, found the end'],
    ['= 1', 1, 'expected a property or a value, found "="'],
    ['a = = 1', 5, 'expected a property or a value, found "="'],
    ['a == 1', 4, 'expected a property or a value, found "="'],
    ['a != 1', 3, "expected '<>' or NOT, there is no '!', found \"!\""],
    ['a = 1 && b = 2', 7, 'expected AND, there is no \'&\', found "&"'],
    ['a = 1 || b = 2', 7, 'expected OR, there is no \'|\', found "|"'],
    ['a = 1;', 6, 'expected the end, there is no \';\', found ";"'],
    ['a NOT 5', 7, `expected ${NAMED}, found "5"`],
    ['a NOT', 6, `expected ${NAMED}, found the end`],
    ['a NOT NULL', 7, `expected ${NAMED}, found "NULL"`],
    ['a IS 5', 6, 'expected NULL or NOT NULL, found "5"'],
    ['a IS NOT', 9, 'expected NULL, found the end'],
    ['a = NULL', 5, 'expected a value: nothing equals NULL, use IS NULL'],
    ['NULL <> a', 1, 'expected a value: nothing differs from NULL, use IS NULL'],
    ['TRUE = 1', 8, 'expected a truth value or a property to compare a truth value with, found a number'],
    ["5 = '5'", 5, 'expected a number or a property to compare a number with, found a text'],
    ["'x' <> (a > 1)", 8, 'expected a text or a property to compare a text with, found a truth value'],
    ["a > 'x'", 5, 'expected a number or a property, because > compares numbers'],
    ["'x' <= a", 1, 'expected a number or a property, because <= compares numbers'],
    ['a < TRUE', 5, 'expected a number or a property, because < compares numbers'],
    ['a >= NULL', 6, 'expected a number or a property, because >= compares numbers'],
    ['(a > 1) > 2', 1, 'expected a number or a property, because > compares numbers'],
    // BETWEEN
    ['a BETWEEN 10 AND 9', 18, 'expected an upper bound of at least 10, found 9'],
    ['a NOT BETWEEN -1 AND -2', 22, 'expected an upper bound of at least -1, found -2'],
    ['a BETWEEN 1', 12, 'expected AND and the upper bound, found the end'],
    ['a BETWEEN 1 OR 2', 13, 'expected AND and the upper bound, found "OR"'],
    ["a BETWEEN 'a' AND 'b'", 11, 'expected a number or a property, because BETWEEN compares numbers'],
    ['a BETWEEN 1 AND TRUE', 17, 'expected a number or a property, because BETWEEN compares numbers'],
    [
      'a and between 2 and 10',
      1,
      'expected a condition: a property alone is neither true nor false, for example a = TRUE',
    ],
    // IN
    ["'x' IN ('x')", 1, 'expected a property before IN'],
    ["5 NOT IN ('5')", 1, 'expected a property before IN'],
    ['a IN ()', 7, 'expected text between single quotes, found ")"'],
    ['a IN (5)', 7, 'expected text between single quotes, found "5"'],
    ["a IN ('x',)", 11, 'expected text between single quotes, found ")"'],
    ["a IN ('x' 'y')", 11, "expected ',' or ')', found \"'y'\""],
    ["a IN 'x'", 6, "expected '(', found \"'x'\""],
    ["a IN ('x'", 10, "expected ',' or ')', found the end"],
    // CONTAINS
    ['a CONTAINS 5', 12, 'expected text between single quotes, found "5"'],
    ['a CONTAINS b', 12, 'expected text between single quotes, found "b"'],
    ["'abc' CONTAINS 'b'", 1, 'expected a property before CONTAINS'],
    ["5 NOT ENDSWITH '5'", 1, 'expected a property before ENDSWITH'],
    // values
    ["a = 'x", 5, 'expected a closing quote somewhere behind this one'],
    ["a = 'x''", 5, 'expected a closing quote somewhere behind this one'],
    ['a = "x"', 5, 'expected text between single quotes (or a property in backticks), found "\\"x\\""'],
    ['a <> "x y"', 6, 'expected text between single quotes (or a property in backticks), found "\\"x y\\""'],
    ['a IN ("x")', 7, 'expected text between single quotes, found "\\"x\\""'],
    ['"a = 1', 1, 'expected a closing quote somewhere behind this one'],
    ['`a = 1', 1, 'expected a closing quote somewhere behind this one'],
    ['"" = 1', 1, 'expected the name of a property between these quotes'],
    ['a = 1 /* b', 7, "expected '*/' somewhere behind this comment's beginning"],
    ['a = 007', 5, 'expected a whole number without leading zeros, found "007"'],
    ['a = 9223372036854775808', 5, 'expected a whole number up to 9223372036854775807, found "9223372036854775808"'],
    ['a = 1e400', 5, 'expected a number that a double can hold, found "1e400"'],
    ['a = 1e-400', 5, 'expected a number that a double can hold, found "1e-400"'],
    ['a = 1.5L', 8, 'expected AND, OR or the end, found "L"'],
    ['a = 1x', 6, 'expected AND, OR or the end, found "x"'],
    ['a = 1e', 6, 'expected AND, OR or the end, found "e"'],
    ['a = 1.2.3', 8, 'expected AND, OR or the end, found ".3"'],
    ['a = .', 5, 'expected a property, a value or an operator, found "."'],
    ['a = 0x10', 6, 'expected AND, OR or the end, found "x10"'],
    ['-a > 5', 2, "expected a number behind '-'"],
    ["+'x' = a", 2, "expected a number behind '+'"],
    ['a = -TRUE', 6, "expected a number behind '-'"],
    ['a = --5', 8, 'expected a property or a value, found the end'],
    ['a.b = 1', 2, 'expected a property, a value or an operator, found "."'],
    ['größe = 1', 3, 'expected a property, a value or an operator, found "ö"'],
    ["'😀😀' = a AND 😀 = 1", 14, 'expected a property, a value or an operator, found "😀"'],
    ['a\u00a0= 1', 2, 'expected a property, a value or an operator, found "\u00a0"'],
    ['a = 1 \0', 7, 'expected a property, a value or an operator, found "\\u0000"'],
    [`a = 1 ${'x'.repeat(40)}`, 7, `expected AND, OR or the end, found "${'x'.repeat(32)}…"`],
  ])('%j', (expression, character, what) => {
    expect(refusal(expression)).toBe(`character ${character}: ${what}`);
  });
});

describe('bounds', () => {
  const padded = (expression: string, length: number) => expression.padEnd(length);

  test('characters, however many bytes they take', () => {
    const most = LIMITS.filterCharacters;
    const what = `character ${most + 1}: expected the end: an expression has at most ${most} characters`;
    expect(takes(padded('TRUE', most), {})).toBe(true);
    expect(refusal(padded('TRUE', most + 1))).toBe(what);
    const text = (characters: number) => `a <> '${'😀'.repeat(characters - 7)}'`;
    expect(takes(text(most), { properties: { a: 'x' } })).toBe(true);
    expect(refusal(text(most + 1))).toBe(what);
    expect(refusal('('.repeat(10_000_000))).toBe(what);
  });

  test.each([
    ['(', ')'],
    ['NOT ', ''],
    ['NOT (', ')'],
  ])('depth: %j', (open, close) => {
    const levels = Math.floor(LIMITS.filterDepth / (open === 'NOT (' ? 2 : 1));
    const nested = (count: number) => `${open.repeat(count)}a = 1${close.repeat(count)}`;
    expect(takes(nested(levels), { properties: { a: '1' } })).toBe(true);
    expect(refusal(nested(levels + 1))).toBe(
      `character ${open.length * levels + 1}: expected at most ${LIMITS.filterDepth} parentheses, NOTs and signs in each other`,
    );
  });

  test('depth of signs, and that what is closed does not count', () => {
    expect(takes(`a = ${'+'.repeat(LIMITS.filterDepth)}1`, { properties: { a: '1' } })).toBe(true);
    expect(refusal(`a = ${'+'.repeat(LIMITS.filterDepth + 1)}1`)).toMatch(/^character 69: /);
    expect(takes('(NOT (FALSE)) AND '.repeat(200) + 'TRUE', {})).toBe(true);
  });

  test('comparisons', () => {
    const chain = (count: number) => Array(count).fill('a=1').join(' OR ');
    expect(takes(chain(LIMITS.filterTerms), { properties: { a: '1' } })).toBe(true);
    expect(refusal(chain(LIMITS.filterTerms + 1))).toBe(
      `character ${7 * LIMITS.filterTerms + 1}: expected the end: an expression has at most ${LIMITS.filterTerms} comparisons`,
    );
    expect(takes(`a IN (${Array(1000).fill("'x'").join()})`, { properties: { a: 'x' } })).toBe(true);
  });

  test('a pattern of LIKE that fails late does not take long', () => {
    const pattern = '%a_a'.repeat(500) + 'b';
    const start = process.cpuUsage();
    for (let i = 0; i < 10; i++) {
      expect(takes(`a LIKE '${pattern}'`, { properties: { a: 'a'.repeat(LIMITS.messagePropertiesBytes) } })).toBe(
        false,
      );
    }
    expect(process.cpuUsage(start).user).toBeLessThan(10_000_000);
  });

  // Each took under 2 ms; what is quadratic or worse in 4,096 characters takes seconds for a hundred.
  test('nothing of the longest length takes long', () => {
    const most = LIMITS.filterCharacters;
    const fill = (head: string, part: string, tail = '') =>
      head + part.repeat(Math.floor((most - head.length - tail.length) / part.length)) + tail;
    const expressions = [
      fill('', '('),
      fill('', 'NOT '),
      fill('a = ', '-+'),
      fill('', 'TRUE OR ', 'TRUE'),
      fill('a=1', ' OR a=1'),
      fill('', 'TRUE OR (TRUE AND (').slice(0, 640),
      fill("a = '", "''", "'"),
      fill("a = '", "''"),
      fill('a IN (', "'',", "'')"),
      fill('a = ', '9'),
      fill('a = .', '9'),
      fill('a = 1e', '9'),
      fill('', '/**/'),
      fill('', '/*'),
      fill('', '--\n'),
      fill('', 'a'),
      fill('', ' '),
      fill('a BETWEEN ', '1 AND '),
    ];
    const start = process.cpuUsage();
    for (const expression of expressions) {
      for (let i = 0; i < 100; i++) {
        try {
          canonicalSql(expression);
        } catch (error) {
          expect(error).toBeInstanceOf(GantryError);
        }
      }
    }
    expect(process.cpuUsage(start).user).toBeLessThan(10_000_000);
  });
});

describe('the canonical form', () => {
  test.each([
    ['a=1', 'a = 1'],
    ['  a\n=\t1 ', 'a = 1'],
    ["a in('x','y')or not b is  not null", "a IN ('x', 'y') OR NOT b IS NOT NULL"],
    ['a not between 1 and 2', 'a NOT BETWEEN 1 AND 2'],
    ["a starTswiTh 'it''s'", "a STARTSWITH 'it''s'"],
    ['((a = 1) and ((b = 2)))', 'a = 1 AND b = 2'],
    ['a = 1 AND (b = 2 OR c = 3)', 'a = 1 AND (b = 2 OR c = 3)'],
    ['(a = 1 AND b = 2) OR c = 3', 'a = 1 AND b = 2 OR c = 3'],
    ['(a = 1 OR b = 2) OR (c = 3 OR d = 4)', 'a = 1 OR b = 2 OR c = 3 OR d = 4'],
    ['NOT (a = 1)', 'NOT a = 1'],
    ['NOT (a = 1 AND b = 2)', 'NOT (a = 1 AND b = 2)'],
    ['(NOT (a = 1)) = true', '(NOT a = 1) = TRUE'],
    ['(a > 1) is null', '(a > 1) IS NULL'],
    ['a = 1000L', 'a = 1000'],
    ['a = 1e3', 'a = 1000'],
    ['a = +(5)', 'a = 5'],
    ['a = -0', 'a = 0'],
    ['a = -(-5.50)', 'a = 5.5'],
    ['a = 1e25', 'a = 1e25'],
    ['a = 0.00000001', 'a = 1e-8'],
    ['a = 9007199254740993', 'a = 9007199254740993'],
    ['a = 9007199254740993.0', 'a = 9.007199254740992e15'],
    ['a = /* one */ 1 -- really', 'a = 1'],
    ['null', 'NULL'],
  ])('%j is %j', (expression, canonical) => {
    expect(canonicalSql(expression)).toBe(canonical);
    expect(canonicalSql(canonical)).toBe(canonical);
  });

  test.each([
    ['a = 1', 'A = 1'],
    ["a = 'x'", "a = 'X'"],
    ["a = ' x'", "a = 'x'"],
    ["a = '1'", 'a = 1'],
    ['a = 1', '1 = a'],
    ['a = 1 AND (b = 2 OR c = 3)', 'a = 1 AND b = 2 OR c = 3'],
    ['NOT (a = 1 AND b = 2)', 'NOT a = 1 AND b = 2'],
    ['a = 9007199254740993', 'a = 9007199254740992'],
  ])('%j and %j differ', (one, other) => {
    expect(canonicalSql(one)).not.toBe(canonicalSql(other));
  });

  test('refuses what cannot be read', () => {
    expect(() => canonicalSql('a =')).toThrow(expect.objectContaining(coded('FILTER_INVALID')));
  });
});

/** Trees as the parser makes them: no chain right inside a chain of its own kind, literals beside their kind. */
const NAMES = ['a', 'b', 'c', '_x', '$y', 'TAGS', 'KEYS', '__proto__', 'constructor', 'user-id', 'like'];
const NUMBERS = [0, 1, 2, 5, -1, -3, 2.5, 0.001, 1e-9, 1e16, -1e30, 2 ** 53, 9007199254740993n, -9007199254740993n];
const TEXTS = [
  '',
  'x',
  'true',
  'FALSE',
  '5',
  '2.5',
  ' 2 ',
  '+1',
  '9007199254740993',
  "it's",
  '😀',
  'x y',
  'NaN',
  '1e3',
];

const anyProperty = fc.constantFrom(...NAMES).map((name) => ({ kind: 'property' as const, name }));
const anyText = fc.oneof(fc.constantFrom(...TEXTS), fc.string({ unit: 'binary', maxLength: 6 }));
const anyNumber = fc.constantFrom(...NUMBERS).map((value) => ({ kind: 'number' as const, value }));
const anyNumeric = fc.oneof(anyProperty, anyNumber);
const anyTruth = fc.constantFrom(true, false, null).map((value) => ({ kind: 'truth' as const, value }));
const textNode = anyText.map((value) => ({ kind: 'text' as const, value }));
const not = fc.boolean();
const aboutTexts = fc.oneof(
  fc.record({ kind: fc.constant('equal' as const), not, left: anyProperty, right: fc.oneof(anyProperty, textNode) }),
  fc.record({ kind: fc.constant('equal' as const), not, left: anyNumeric, right: anyNumber }),
  fc.record({
    kind: fc.constant('in' as const),
    not,
    property: anyProperty,
    texts: fc.array(anyText, { minLength: 1, maxLength: 4 }),
  }),
  fc.record({
    kind: fc.constant('search' as const),
    operator: fc.constantFrom('CONTAINS' as const, 'STARTSWITH' as const, 'ENDSWITH' as const),
    not,
    property: anyProperty,
    text: anyText,
  }),
  fc.record({
    kind: fc.constant('like' as const),
    not,
    property: anyProperty,
    pattern: fc
      .array(fc.constantFrom('%', '_', '!%', '!_', '!!', 'x', ' ', '5', '😀', "'"))
      .map((parts) => parts.join('')),
    escape: fc.constant('!'),
  }),
);
const aboutNumbers = fc.oneof(
  fc.record({
    kind: fc.constant('order' as const),
    operator: fc.constantFrom('<' as const, '<=' as const, '>' as const, '>=' as const),
    left: anyNumeric,
    right: anyNumeric,
  }),
  fc
    .record({ kind: fc.constant('between' as const), not, value: anyNumeric, low: anyNumeric, high: anyNumeric })
    .filter(({ low, high }) => low.kind === 'property' || high.kind === 'property' || low.value <= high.value),
);

function chainOf(kind: 'and' | 'or', term: fc.Arbitrary<SqlCondition>): fc.Arbitrary<SqlCondition> {
  return fc.array(term, { minLength: 2, maxLength: 4 }).map((terms) => ({
    kind,
    terms: terms.flatMap((inner) => (inner.kind === kind ? inner.terms : [inner])),
  }));
}

const anyCondition = fc.letrec<{ condition: SqlCondition }>((tie) => ({
  condition: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    aboutTexts,
    aboutNumbers,
    anyTruth,
    chainOf('and', tie('condition')),
    chainOf('or', tie('condition')),
    fc.record({ kind: fc.constant('not' as const), term: tie('condition') }),
    fc.record({
      kind: fc.constant('null' as const),
      not,
      value: fc.oneof<fc.Arbitrary<SqlNode>[]>(anyNumeric, textNode, tie('condition')),
    }),
    fc
      .tuple(
        not,
        tie('condition'),
        fc.constantFrom<SqlNode>({ kind: 'truth', value: true }, { kind: 'property', name: 'a' }),
      )
      .filter(([, left]) => !(left.kind === 'truth' && left.value === null))
      .map(([negative, left, right]): SqlCondition => ({ kind: 'equal', not: negative, left, right })),
  ),
})).condition;

const anyMessage: fc.Arbitrary<FilteredAttributes> = fc.record(
  {
    tag: anyText,
    keys: fc.array(anyText, { maxLength: 2 }),
    properties: fc
      .array(fc.tuple(fc.constantFrom(...NAMES), anyText))
      .map((entries) => Object.fromEntries(entries) as Record<string, string>),
  },
  { requiredKeys: [] },
);

/** A second evaluator: slow, over the tree, with binary AND alone, and a failure is an exception. */
function naive(node: SqlNode, message: FilteredAttributes): string | number | bigint | boolean | null {
  const all = new Map(Object.entries(message.properties ?? {}));
  all.delete('TAGS');
  all.delete('KEYS');
  if (message.tag) all.set('TAGS', message.tag);
  if (message.keys?.length) all.set('KEYS', message.keys.join(' '));
  const value = (inner: SqlNode) => naive(inner, message);
  const truth = (inner: SqlNode) => value(inner) as boolean | null;
  const turned = (known: boolean | null) => (known === null ? null : !known);
  const both = (left: () => boolean | null, right: () => boolean | null) => {
    const one = left();
    if (one === false) return false;
    const other = right();
    return other === false ? false : one === null || other === null ? null : true;
  };
  const number = (from: ReturnType<typeof naive>) => {
    if (typeof from !== 'string') return from as number | bigint;
    if (/^[\0- ]*[+-]?\d{1,19}[\0- ]*$/.test(from)) return BigInt(from.trim().replace('+', ''));
    if (/^[\0- ]*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?[\0- ]*$/i.test(from)) return Number(from.trim());
    throw new RangeError('no number');
  };
  const ordered = (left: SqlNode, right: SqlNode, holds: (l: number | bigint, r: number | bigint) => boolean) => {
    const one = value(left);
    const other = value(right);
    return one === null || other === null ? null : holds(number(one), number(other));
  };
  const found = (left: SqlNode, holds: (text: string) => boolean) => {
    const text = value(left) as string | null;
    return text === null ? null : holds(text);
  };
  switch (node.kind) {
    case 'property':
      return all.get(node.name) ?? null;
    case 'text':
    case 'number':
    case 'truth':
      return node.value;
    case 'not':
      return turned(truth(node.term));
    case 'and':
      return node.terms.reduceRight<() => boolean | null>(
        (rest, term) => () => both(() => truth(term), rest),
        () => true,
      )();
    case 'or':
      return turned(truth({ kind: 'and', terms: node.terms.map((term): SqlCondition => ({ kind: 'not', term })) }));
    case 'equal': {
      const one = value(node.left);
      const other = value(node.right);
      if (one === null || other === null) return null;
      let same: boolean;
      if (typeof one === 'string' && typeof other === 'string') same = one === other;
      else if (typeof one === 'boolean' || typeof other === 'boolean') {
        same = /^true$/i.test(String(one)) === /^true$/i.test(String(other));
      } else same = ordered(node.left, node.right, (l, r) => l <= r && r <= l)!;
      return same !== node.not;
    }
    case 'order':
      return ordered(node.left, node.right, (l, r) =>
        l < r ? node.operator.startsWith('<') : l > r ? node.operator.startsWith('>') : node.operator.endsWith('='),
      );
    case 'between': {
      const { low, high } = node;
      const inside = both(
        () => ordered(node.value, low, (l, r) => l >= r),
        () => ordered(node.value, high, (l, r) => l <= r),
      );
      return node.not ? turned(inside) : inside;
    }
    case 'in':
      return found(node.property, (text) => node.texts.includes(text) !== node.not);
    case 'null':
      return (value(node.value) === null) !== node.not;
    case 'search': {
      const part = node.text;
      return found(node.property, (text) => {
        if (part === '') return false;
        const at = { CONTAINS: text.indexOf(part), STARTSWITH: 0, ENDSWITH: text.length - part.length }[node.operator];
        return (at >= 0 && text.slice(at, at + part.length) === part) !== node.not;
      });
    }
    case 'like': {
      const pattern = node.pattern.replace(/!?[^]/gu, (unit) => ({ '%': '.*', _: '.' })[unit] ?? [...unit].at(-1)!);
      return found(node.property, (text) => new RegExp(`^${pattern}$`, 'su').test(text) !== node.not);
    }
  }
}

function naivelyTakes(condition: SqlCondition, message: FilteredAttributes): boolean {
  try {
    return naive(condition, message) === true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

describe('whatever the expression', () => {
  test('a tree that is printed and parsed is the same tree', () => {
    fc.assert(
      fc.property(anyCondition, (condition) => {
        const text = printSql(condition);
        expect(parseSqlCondition(text)).toEqual(condition);
        expect(canonicalSql(text)).toBe(text);
      }),
      { numRuns: 2000 },
    );
  });

  test('blanks, comments and the case of keywords change nothing', () => {
    const between = fc.constantFrom(' ', '\n', '\t \r\n', '/* x */', ' -- y\n');
    fc.assert(
      fc.property(
        anyCondition,
        fc.array(between, { minLength: 1, maxLength: 5 }),
        fc.boolean(),
        (condition, gaps, low) => {
          let next = 0;
          // What stands between quotes is left alone.
          const other = printSql(condition)
            .split(/('(?:[^']|'')*')/)
            .map((part, index) => {
              if (index % 2 === 1) return part;
              const spaced = part.replace(/ /g, () => gaps[next++ % gaps.length]!);
              return low
                ? spaced.replace(/[A-Z]+/g, (word) => (/^(TAGS|KEYS)$/.test(word) ? word : word.toLowerCase()))
                : spaced;
            })
            .join('');
          fc.pre(other.length <= LIMITS.filterCharacters);
          expect(canonicalSql(other)).toBe(printSql(condition));
        },
      ),
      { numRuns: 1000 },
    );
  });

  test('a second evaluator comes to the same result', () => {
    fc.assert(
      fc.property(anyCondition, fc.array(anyMessage, { minLength: 1, maxLength: 5 }), (condition, messages) => {
        const filter = parseSql(printSql(condition));
        for (const message of messages) expect(filter.matches(message)).toBe(naivelyTakes(condition, message));
      }),
      { numRuns: 3000 },
    );
  });

  const words = fc.constantFrom(
    ...['a', 'TAGS', 'AND', 'OR', 'NOT', 'IN', 'BETWEEN', 'IS', 'NULL', 'TRUE', 'CONTAINS', '(', ')', ',', '-', '+'],
    ...['=', '<>', '<', '>=', '1', '.5', '1e3', '9223372036854775808', "'x'", "''", "'", '--', '/*', '*/', '\n', '😀'],
  );
  test.each<[string, fc.Arbitrary<string>]>([
    ['any text', fc.string({ unit: 'binary', maxLength: 200 })],
    ['any characters of the grammar', fc.string({ unit: fc.constantFrom(..."aN1.eL'=<>()+-*/ ,\n"), maxLength: 60 })],
    ['any words of the grammar', fc.array(words, { maxLength: 30 }).map((parts) => parts.join(' '))],
  ])('%s is read, or refused with FILTER_INVALID', (_, anyExpression) => {
    fc.assert(
      fc.property(anyExpression, anyMessage, (expression, message) => {
        try {
          expect(typeof parseSql(expression).matches(message)).toBe('boolean');
        } catch (error) {
          expect(error).toMatchObject(coded('FILTER_INVALID'));
          const [, character] = /^character (\d+): expected /.exec((error as GantryError).extras.errors![0]!.detail)!;
          expect(Number(character)).toBeLessThanOrEqual([...expression].length + 1);
        }
      }),
      { numRuns: 3000 },
    );
  });
});
