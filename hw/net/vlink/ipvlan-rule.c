/*
 * -object ipvlan-rule: rules for the filter of -netdev ipvlan,mode=l3s
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "ipvlan-int.h"
#include "qapi/error.h"
#include "qapi/qapi-types-common.h"
#include "qapi/visitor.h"
#include "qom/object_interfaces.h"

#define PRIORITY_MAX 65535
#define PRIORITY 1000           /* default */

QEMU_BUILD_BUG_ON((int)IPVLAN_RULE_DIRECTION_OUT != IPVLAN_OUT);
QEMU_BUILD_BUG_ON((int)IPVLAN_RULE_DIRECTION_IN != IPVLAN_IN);
QEMU_BUILD_BUG_ON((int)IPVLAN_RULE_DIRECTION_BOTH != IPVLAN_BOTH);
QEMU_BUILD_BUG_ON((int)IPVLAN_RULE_ACTION_ACCEPT != IPVLAN_ACCEPT);
QEMU_BUILD_BUG_ON((int)IPVLAN_RULE_ACTION_DROP != IPVLAN_DROP);
QEMU_BUILD_BUG_ON((int)IPVLAN_RULE_ACTION_REJECT != IPVLAN_REJECT);

#define TYPE_IPVLAN_RULE "ipvlan-rule"
OBJECT_DECLARE_SIMPLE_TYPE(IpvlanRuleObject, IPVLAN_RULE)

struct IpvlanRuleObject {
    Object parent;
    char *master;
    char *slave;                /* NULL: all */
    char *match;                /* NULL: everything */
    uint32_t priority;
    IpvlanRuleDirection direction;
    IpvlanRuleAction action;

    IpvlanRule *rule;           /* NULL until all is known to be good */
    QTAILQ_ENTRY(IpvlanRuleObject) next;
};

/* Those that are complete, in the order in which they are asked. */
static QTAILQ_HEAD(, IpvlanRuleObject) rules = QTAILQ_HEAD_INITIALIZER(rules);

OBJECT_DEFINE_SIMPLE_TYPE_WITH_INTERFACES(IpvlanRuleObject,
                                          ipvlan_rule_object,
                                          IPVLAN_RULE,
                                          OBJECT,
                                          { TYPE_USER_CREATABLE },
                                          { NULL })

static const char *rule_id(IpvlanRuleObject *r)
{
    return object_get_canonical_path_component(OBJECT(r));
}

/* --- on and off ports ---------------------------------------------------- */

static bool compile(IpvlanRuleObject *r, Error **errp)
{
    g_autoptr(GError) err = NULL;

    r->rule = ipvlan_rule_new(&(IpvlanRuleConfig) {
        .name = rule_id(r),
        .slave = r->slave,
        .priority = r->priority,
        .direction = (IpvlanDirection)r->direction,
        .action = (IpvlanAction)r->action,
        .match = r->match,
    }, &err);
    if (!r->rule) {
        error_setg(errp, "%s", err->message);
    }
    return r->rule;
}

static bool attach(IpvlanRuleObject *r, Link *lower, Error **errp)
{
    g_autoptr(GError) err = NULL;

    if (ipvlan_rule_attach(r->rule, lower, &err) < 0) {
        error_setg(errp, "%s", err->message);
        return false;
    }
    return true;
}

static bool is_for(const IpvlanRuleObject *r, const Link *lower)
{
    return g_str_equal(r->master, vlink_master_id(lower));
}

bool ipvlan_rules_attach(Link *lower, Error **errp)
{
    IpvlanRuleObject *r;

    QTAILQ_FOREACH(r, &rules, next) {
        if (is_for(r, lower) && !ipvlan_rule_is_attached(r->rule) &&
            !attach(r, lower, errp)) {
            return false;
        }
    }
    return true;
}

/* @r has no effect on a port in @mode. */
static bool forbids(IpvlanRuleObject *r, IpvlanMode mode, Error **errp)
{
    error_setg(errp, "mode=%s: ipvlan-rule '%s' is for '%s', and needs "
               "mode=l3s", ipvlan_mode_name(mode), rule_id(r), r->master);
    return false;
}

static bool permit(const char *master, IpvlanMode mode, Error **errp)
{
    IpvlanRuleObject *r;

    QTAILQ_FOREACH(r, &rules, next) {
        if (mode != IPVLAN_L3S && g_str_equal(r->master, master)) {
            return forbids(r, mode, errp);
        }
    }
    return true;
}

bool ipvlan_rules_permit(const char *master, const IpvlanMode *mode,
                         Error **errp)
{
    return vlink_find_lower(master) ||
           permit(master, mode ? *mode : IPVLAN_L2_MACNAT, errp);
}

bool ipvlan_rules_permit_change(const Link *lower, IpvlanMode mode,
                                Error **errp)
{
    return permit(vlink_master_id(lower), mode, errp);
}

/* --- what can be asked --------------------------------------------------- */

static IpvlanRuleStatus *fill_rule(IpvlanRuleObject *r)
{
    IpvlanRuleStatus *status = g_new0(IpvlanRuleStatus, 1);

    status->id = g_strdup(rule_id(r));
    status->slave = g_strdup(r->slave);
    status->priority = r->priority;
    status->direction = r->direction;
    status->match = g_strdup(r->match ?: "");
    status->action = r->action;
    ipvlan_rule_counts(r->rule, &status->packets, &status->bytes);
    return status;
}

IpvlanRuleStatusList *ipvlan_rules_query(const Link *lower)
{
    IpvlanRuleStatusList *list = NULL, **tail = &list;
    IpvlanRuleObject *r;

    QTAILQ_FOREACH(r, &rules, next) {
        if (is_for(r, lower)) {
            QAPI_LIST_APPEND(tail, fill_rule(r));
        }
    }
    return list;
}

/* --- making them --------------------------------------------------------- */

static bool check_master(const IpvlanRuleObject *r, const Link *lower,
                         Error **errp)
{
    IpvlanPortInfo info;

    if (!lower || !ipvlan_port_info(lower, &info)) {
        return vlink_check_master(r->master, errp);
    }
    if (info.mode != IPVLAN_L3S) {
        error_setg(errp, "master=%s: rules need mode=l3s, and its mode is %s",
                   r->master, ipvlan_mode_name(info.mode));
        return false;
    }
    return true;
}

/* A rule that waits for a slave whose name is misspelt would go unnoticed. */
static bool check_slave(const IpvlanRuleObject *r, const Link *lower,
                        Error **errp)
{
    if (!r->slave || (lower && link_find_upper(lower, r->slave))) {
        return true;
    }
    error_setg(errp, "slave=%s: '%s' has no such slave", r->slave, r->master);
    return false;
}

/* The first of those that come after it stays behind it. */
static void enlist(IpvlanRuleObject *r)
{
    IpvlanRuleObject *other;

    QTAILQ_FOREACH(other, &rules, next) {
        if (other->priority > r->priority) {
            QTAILQ_INSERT_BEFORE(other, r, next);
            return;
        }
    }
    QTAILQ_INSERT_TAIL(&rules, r, next);
}

static void ipvlan_rule_complete(UserCreatable *uc, Error **errp)
{
    IpvlanRuleObject *r = IPVLAN_RULE(uc);
    Link *lower = vlink_find_lower(r->master);

    if (!check_master(r, lower, errp) || !check_slave(r, lower, errp) ||
        !compile(r, errp) || (lower && !attach(r, lower, errp))) {
        return;
    }
    enlist(r);
}

static void ipvlan_rule_object_finalize(Object *obj)
{
    IpvlanRuleObject *r = IPVLAN_RULE(obj);

    if (QTAILQ_IN_USE(r, next)) {
        QTAILQ_REMOVE(&rules, r, next);
    }
    if (r->rule) {
        ipvlan_rule_free(r->rule);
    }
    g_free(r->master);
    g_free(r->slave);
    g_free(r->match);
}

/* --- properties ---------------------------------------------------------- */

static bool may_set(const IpvlanRuleObject *r, const char *name, Error **errp)
{
    if (r->rule) {
        error_setg(errp, "%s: a rule cannot be changed, delete it and make "
                   "another one", name);
    }
    return !r->rule;
}

static char **find_str(IpvlanRuleObject *r, const char *name)
{
    return g_str_equal(name, "master") ? &r->master :
           g_str_equal(name, "slave") ? &r->slave : &r->match;
}

static void get_str(Object *obj, Visitor *v, const char *name, void *opaque,
                    Error **errp)
{
    visit_type_str(v, name, find_str(IPVLAN_RULE(obj), name), errp);
}

static void set_str(Object *obj, Visitor *v, const char *name, void *opaque,
                    Error **errp)
{
    IpvlanRuleObject *r = IPVLAN_RULE(obj);
    char *value;

    if (may_set(r, name, errp) && visit_type_str(v, name, &value, errp)) {
        g_free(*find_str(r, name));
        *find_str(r, name) = value;
    }
}

static void get_priority(Object *obj, Visitor *v, const char *name,
                         void *opaque, Error **errp)
{
    visit_type_uint32(v, name, &IPVLAN_RULE(obj)->priority, errp);
}

static void set_priority(Object *obj, Visitor *v, const char *name,
                         void *opaque, Error **errp)
{
    IpvlanRuleObject *r = IPVLAN_RULE(obj);
    uint32_t value;

    if (!may_set(r, name, errp) || !visit_type_uint32(v, name, &value, errp)) {
        return;
    }
    if (value > PRIORITY_MAX) {
        error_setg(errp, "priority=%" PRIu32 ": it has to be between 0 and "
                   "%d", value, PRIORITY_MAX);
        return;
    }
    r->priority = value;
}

static int get_direction(Object *obj, Error **errp)
{
    return IPVLAN_RULE(obj)->direction;
}

static void set_direction(Object *obj, int value, Error **errp)
{
    IpvlanRuleObject *r = IPVLAN_RULE(obj);

    if (may_set(r, "direction", errp)) {
        r->direction = value;
    }
}

static int get_action(Object *obj, Error **errp)
{
    return IPVLAN_RULE(obj)->action;
}

static void set_action(Object *obj, int value, Error **errp)
{
    IpvlanRuleObject *r = IPVLAN_RULE(obj);

    if (may_set(r, "action", errp)) {
        r->action = value;
    }
}

static void ipvlan_rule_object_init(Object *obj)
{
    IpvlanRuleObject *r = IPVLAN_RULE(obj);

    r->priority = PRIORITY;
    r->direction = IPVLAN_RULE_DIRECTION_BOTH;
}

static void ipvlan_rule_object_class_init(ObjectClass *oc, void *data)
{
    UserCreatableClass *ucc = USER_CREATABLE_CLASS(oc);

    ucc->complete = ipvlan_rule_complete;
    object_class_property_add(oc, "master", "str", get_str, set_str,
                              NULL, NULL);
    object_class_property_add(oc, "slave", "str", get_str, set_str,
                              NULL, NULL);
    object_class_property_add(oc, "match", "str", get_str, set_str,
                              NULL, NULL);
    object_class_property_add(oc, "priority", "uint32", get_priority,
                              set_priority, NULL, NULL);
    object_class_property_add_enum(oc, "direction", "IpvlanRuleDirection",
                                   &IpvlanRuleDirection_lookup,
                                   get_direction, set_direction);
    object_class_property_add_enum(oc, "action", "IpvlanRuleAction",
                                   &IpvlanRuleAction_lookup,
                                   get_action, set_action);
}
