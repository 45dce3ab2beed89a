# ruff: noqa: N802 - a visitor's methods are named after the nodes of the tree
"""What Citus refuses on tables that are distributed by tenant, or does slowly, found in the syntax tree of a statement.

The rules were taken from what a cluster refused. A tree has no types, so two refusals are not found. The first is a sum
of a time and an interval, if the sum reads a column and the statement writes. The second is a parameter whose type
Citus does not know.
"""

import re

from pglast import ast, parse_plpgsql, parse_sql
from pglast.visitors import Skip, Visitor

DISTRIBUTED = frozenset({"data_key", "data_key_wrap", "token", "token_use", "account", "audit_event", "unread_answer"})
REFERENCE = frozenset(
    {
        "master_key",
        "migration",
        "client_refusal",
        "client_turn",
        "used_state",
        "timeline",
        "home",
        "restoration",
        "audit_seal",
        "audit_chain",
        "document",
    }
)
"""Tables that Citus copies to each node, because they have no tenant."""

IMMUTABLE = frozenset(
    {
        *("array_agg", "bool_or", "cardinality", "convert_to", "count", "encode", "isfinite", "left", "max", "min"),
        *("hash_record_extended", "num_nonnulls", "octet_length", "row_number", "sha256", "string_agg", "unnest"),
    }
)
_DISTRIBUTED = re.compile(rf'(?:FROM|INTO|UPDATE) "\w+"\.(?:{"|".join(sorted(DISTRIBUTED))})\b')
_PARAMETER = re.compile(r"%\((\w+)\)b")

TIME = "a function that is not immutable where a statement writes: in its values, ON CONFLICT or RETURNING"
LOCK = "row locks that do not belong to one tenant, given as a parameter"
REFERENCE_LOCK = "row locks on a reference table"
GATHERED = "a CTE that writes, where the statement or a CTE inserts: the CTE's rows are gathered at the coordinator"
NO_COLUMNS = "EXISTS over a query without columns"
ANY_TENANT = "a table whose tenant is neither a parameter nor joined"
MOVED = "a change of the tenant of a row"
LATERAL = "LATERAL over a distributed table"
OUTER = "an outer join whose first side is no table"
RECURSIVE = "a recursive query"
HAVING = "a subquery over a distributed table in HAVING"

USING = "a join with USING inside another join: Citus sends names of columns that do not exist"

SEVERAL_TENANTS = "a table that is not tied to one tenant, given as a parameter"
"""Citus then asks every shard. Unlike `ANY_TENANT`, a join by the tenant of other rows does not suffice."""

ELSEWHERE = "an event from rows of a distributed table: the rows' node would compute the event's place"

REFUSED = frozenset({TIME, LOCK, NO_COLUMNS, MOVED, RECURSIVE, HAVING, USING})
"""The rules whose breach Citus refuses."""

UNSORTED = "a page without an order: the nodes' rows come in any order"

WRONG = frozenset({ELSEWHERE, UNSORTED})
"""The rules whose breach gives wrong results; the other rules are about round trips to several nodes."""


def parsed(sql):
    """Return the tree of one statement; each parameter is ``$n``."""
    names = list(dict.fromkeys(_PARAMETER.findall(sql)))
    [tree] = parse_sql(_PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", sql))
    return tree.stmt


def statements_of(functions):
    """Return those statements of PL/pgSQL functions that name a distributed table.

    The arguments of the functions become parameters.
    """
    found = [query for query in _queries(parse_plpgsql(functions)) if _DISTRIBUTED.search(query)]
    return [re.sub(r"\bgiven_(\w+)", r"%(\1)b", query) for query in found]


def _queries(tree):
    if isinstance(tree, dict):
        if "PLpgSQL_expr" in tree:
            yield tree["PLpgSQL_expr"]["query"]
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from _queries(part)


def broken_rules(sql):
    """Return the rules that a statement breaks."""
    tree = parsed(sql)
    if isinstance(tree, ast.LockStmt):
        return frozenset()
    tables = _Tables(tree)
    if not tables.distributed:
        return frozenset({REFERENCE_LOCK}) if _locks(tree, REFERENCE) else frozenset()
    visitor = _Rules()
    visitor(tree)
    broken = set(visitor.broken)
    if isinstance(tree, ast.SelectStmt) and tree.limitCount and not tree.sortClause and not _names_tenant(tree):
        broken.add(UNSORTED)
    if not _all_pinned(tree):
        broken.add(ANY_TENANT)
    if _gathers(tree):
        broken.add(GATHERED)
    if not all(_is_of_one_tenant(query) for query in _queries_of(tree)):
        broken.add(SEVERAL_TENANTS)
    return frozenset(broken)


class _Tables(Visitor):
    def __init__(self, tree):
        super().__init__()
        self.distributed = set()
        self(tree)

    def visit_RangeVar(self, _, node):
        if node.schemaname and node.relname in DISTRIBUTED:
            self.distributed.add(node.relname)


class _Rules(Visitor):
    def __init__(self):
        super().__init__()
        self.broken = set()

    def visit_InsertStmt(self, _, node):
        if _calls([node.onConflictClause, _returned(node)]):
            self.broken.add(TIME)
        has_place = "xid" in {column.name for column in node.cols}
        if node.relation.relname == "audit_event" and not has_place and _Tables(node.selectStmt).distributed:
            self.broken.add(ELSEWHERE)

    def visit_DeleteStmt(self, _, node):
        if _calls([node.whereClause, _returned(node)]):
            self.broken.add(TIME)

    def visit_WithClause(self, _, node):
        if node.recursive:
            self.broken.add(RECURSIVE)

    def visit_SelectStmt(self, _, node):
        if node.havingClause and _Tables(node.havingClause).distributed:
            self.broken.add(HAVING)
        if node.lockingClause:
            if _sources(node) & REFERENCE:
                self.broken.add(REFERENCE_LOCK)
            elif not _names_tenant(node) or _has_function(node):
                self.broken.add(LOCK)

    def visit_SubLink(self, _, node):
        if node.subLinkType.name == "EXISTS_SUBLINK" and not node.subselect.targetList:
            self.broken.add(NO_COLUMNS)

    def visit_UpdateStmt(self, _, node):
        if _calls([node.targetList, node.whereClause, _returned(node)]):
            self.broken.add(TIME)
        if any(target.name == "tenant_id" for target in node.targetList):
            self.broken.add(MOVED)

    def visit_RangeSubselect(self, _, node):
        if node.lateral and _Tables(node.subquery).distributed:
            self.broken.add(LATERAL)

    def visit_JoinExpr(self, _, node):
        if any(isinstance(side, ast.JoinExpr) and side.usingClause for side in (node.larg, node.rarg)):
            self.broken.add(USING)
        if node.jointype.name == "JOIN_LEFT" and _Tables(node.rarg).distributed:
            first = node
            while isinstance(first, ast.JoinExpr):
                first = first.larg
            if isinstance(first, ast.RangeFunction):
                self.broken.add(OUTER)


class _Found(Visitor):
    def __init__(self, tree, *kinds):
        super().__init__()
        self.kinds, self.nodes = kinds, []
        self(tree)

    def visit(self, _, node):
        if isinstance(node, self.kinds):
            self.nodes.append(node)


class _Calls(Visitor):
    """Finds functions that are not known as immutable, outside of subqueries."""

    def __init__(self):
        super().__init__()
        self.found = False

    def visit_SelectStmt(self, _, __):
        return Skip

    def visit_FuncCall(self, _, node):
        self.found |= node.funcname[-1].sval not in IMMUTABLE


def _gathers(tree):
    """Tell whether Citus runs a CTE that writes on its own, instead of sending the statement as a whole to one node."""
    written = [node.ctequery for node in _Found(tree, ast.CommonTableExpr).nodes]
    written = [node for node in written if isinstance(node, ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt)]
    inserts = any(isinstance(node, ast.InsertStmt) for node in (tree, *written))
    return bool(written) and (inserts or not all(_is_of_one_tenant(query) for query in _queries_of(tree)))


def _calls(parts):
    for part in parts:
        for node in part if isinstance(part, tuple) else (part,):
            if node is not None:
                calls = _Calls()
                calls(node)
                if calls.found:
                    return True
    return False


def _returned(node):
    """Return the RETURNING list; its field has another name from PostgreSQL 18 on."""
    clause = getattr(node, "returningClause", None)
    return getattr(node, "returningList", None) if clause is None else clause.exprs


def _sources(select):
    return {node.relname for part in select.fromClause or () for node in _Found(part, ast.RangeVar).nodes}


def _has_function(select):
    return any(_Found(part, ast.RangeFunction).nodes for part in select.fromClause or ())


def _locks(tree, tables):
    return any(node.lockingClause and _sources(node) & tables for node in _Found(tree, ast.SelectStmt).nodes)


def _column(node):
    """Return (table, column) of a column; the table is None if it is not named."""
    if isinstance(node, ast.TypeCast):
        return _column(node.arg)
    if not isinstance(node, ast.ColumnRef):
        return None
    names = [field.sval for field in node.fields if isinstance(field, ast.String)]
    return (names[-2] if len(names) > 1 else None, names[-1]) if names else None


def _is_parameter(node):
    if isinstance(node, ast.TypeCast):
        return _is_parameter(node.arg)
    return isinstance(node, ast.ParamRef) or (isinstance(node, ast.A_Const) and node.val is not None)


def _equalities(tree):
    """Yield the equalities that hold for all rows: those which no OR or NOT surrounds."""
    if isinstance(tree, ast.BoolExpr):
        if tree.boolop.name == "AND_EXPR":
            for part in tree.args:
                yield from _equalities(part)
    elif isinstance(tree, ast.A_Expr) and tree.name[-1].sval == "=":
        yield tree


def _conditions(query):
    where = getattr(query, "whereClause", None)
    if where is not None:
        yield from _equalities(where)
    sources = getattr(query, "fromClause", None) or getattr(query, "usingClause", None) or ()
    for source in sources:
        for join in _Found(source, ast.JoinExpr).nodes:
            if join.quals is not None:
                yield from _equalities(join.quals)


def _names_tenant(query):
    return any(
        (_column(left) or ("", ""))[1] == "tenant_id" and _is_parameter(right)
        for each in _conditions(query)
        for left, right in ((each.lexpr, each.rexpr), (each.rexpr, each.lexpr))
    )


def _all_pinned(tree):
    """Tell whether each query that reads or changes rows of tenants says of which tenant, or joins by the tenant."""
    return all(_is_pinned(query) for query in _queries_of(tree))


def _queries_of(tree):
    return _Found(tree, ast.SelectStmt, ast.UpdateStmt, ast.DeleteStmt).nodes


def _own(query):
    """Return the parts of a query that name tables, and the distributed tables among them."""
    own = list(getattr(query, "fromClause", None) or getattr(query, "usingClause", None) or ())
    if getattr(query, "relation", None) is not None:
        own.append(query.relation)
    direct = [node for part in own for node in _direct(part)]
    return own, [node for node in direct if node.schemaname and node.relname in DISTRIBUTED]


def _is_of_one_tenant(query):
    """Tell whether each distributed table's tenant is equal to a parameter, maybe by way of another table's tenant."""
    own, tables = _own(query)
    names = [table.alias.aliasname if table.alias else table.relname for table in tables]
    tied, pairs = set(), []
    for each in _conditions(query):
        sides = [(_column(side), side) for side in (each.lexpr, each.rexpr)]
        columns = [column[0] or names[0] for column, _ in sides if column and column[1] == "tenant_id" and names]
        if len(columns) == 2:
            pairs.append(columns)
        elif columns and any(_is_parameter(side) for _, side in sides):
            tied.add(columns[0])
    for join in (join for part in own for join in _Found(part, ast.JoinExpr).nodes):
        if join.usingClause and "tenant_id" in {name.sval for name in join.usingClause}:
            pairs.append(names)
    for _ in names:
        tied |= {name for pair in pairs if tied & set(pair) for name in pair}
    return tied >= set(names)


def _is_pinned(query):
    own, tables = _own(query)
    if not tables:
        return True
    joined = any(
        (_column(each.lexpr) or ("", ""))[1] == "tenant_id" == (_column(each.rexpr) or ("", ""))[1]
        for each in _conditions(query)
    )
    by_using = any(
        join.usingClause and "tenant_id" in {name.sval for name in join.usingClause}
        for part in own
        for join in _Found(part, ast.JoinExpr).nodes
    )
    return joined or by_using or _names_tenant(query)


def _direct(node):
    """Yield the tables of a FROM clause, without those of its subqueries."""
    if isinstance(node, ast.RangeVar):
        yield node
    elif isinstance(node, ast.JoinExpr):
        yield from _direct(node.larg)
        yield from _direct(node.rarg)
