/* The one gate of access: each request passes it before it sees or changes anything of a session.
 *
 *     route table:  the right that a route needs, and where its names come from
 *         |
 *         +-- the path names the session, or nothing --> router_begin()         --> access_check()
 *         +-- the body or the query names it ----------> access_enter()         --> access_check()
 *         +-- {id} names a run or a tunnel of it ------> access_enter_item()    --> as if unknown
 *         +-- a list: each of its items ---------------> access_shows(), access_shows_session()
 *
 * A route of the table has no right by default, and then it is refused. A request that has not passed cannot
 * be answered with success: routes/reply.c closes its connection and counts a broken state.
 *
 * The judge is `allows` of struct routes_context. Without one, everything is allowed.
 */
#ifndef SLUICE_ROUTES_ACCESS_H
#define SLUICE_ROUTES_ACCESS_H

#include "broadcaster/subscriber.h"
#include "routes/path.h"
#include "routes/request.h"

/** Whether the request may use this right on the session; "" stands for a name that the request leaves open:
 * access_check(request, "a", "", "", ACCESS_READ) asks to read what there is of app "a". False: the reply is
 * decided (403). */
bool access_check(struct request *request, const char *app, const char *user, const char *session,
                  enum access_right right) MUST_CHECK;

/** The request is about the session of `owner`, which its body, its query or a path that is passed on has
 * named: notes the names, and checks the right that the route needs. False: the reply is decided. */
bool access_enter(struct request *request, const struct session_names *owner) MUST_CHECK;

/** The same for a request whose {id} names what `owner` has. Decides no reply: without the right, the caller
 * answers as if there were nothing of this id. */
bool access_enter_item(struct request *request, const struct session_names *owner) MUST_CHECK;

/** Whether the request may use its route's right on one item of a list. Decides no reply: a list leaves out
 * the items of others. */
bool access_shows(const struct request *request, const struct session_names *owner) MUST_CHECK;
bool access_shows_session(const struct request *request, const struct session *session) MUST_CHECK;

/** The open session that the request is about, referenced. NULL: there is none; no reply is decided. */
struct session *access_find_session(struct request *request) MUST_CHECK;

/** The same, opened if need be. NULL: the reply is decided. */
struct session *access_open_session(struct request *request) MUST_CHECK;

/** The same, but no reply is decided in any case. */
struct session *access_try_open_session(struct request *request) MUST_CHECK;

/** A subscriber of the session that the request is about, which is waited for if it is not open yet: as
 * subscriber_await(). Decides no reply. */
enum subscriber_result access_await_session(struct request *request, const struct subscriber_spec *spec,
                                            struct subscriber **ret_subscriber) MUST_CHECK;

/** The run that {id} of the path names, referenced. The request is about its session from then on. NULL:
 * there is none, or it belongs to others; the reply is decided, and is the same 404 for both. */
struct task *access_find_task(struct request *request) MUST_CHECK;

/** Whether a run is under way in the session that the request is about. Then the reply is decided (409): two
 * runs at once would mix up the session's history. */
bool access_refuse_conflict(struct request *request) MUST_CHECK;

#endif
