/* GET /demo: the page routes/demo.html.
 *
 * The assembler puts the page into the program, so the program needs no file at run time. The policy that is
 * sent along lets the page load nothing, and connect to the gateway alone. */
#include "routes/handlers.h"

/* The path is that of the source tree's root, where the compiler runs. */
__asm__(".section .rodata\n"
        ".global sluice_demo_page\n"
        ".global sluice_demo_page_end\n"
        "sluice_demo_page:\n"
        ".incbin \"routes/demo.html\"\n"
        "sluice_demo_page_end:\n"
        ".previous\n");

extern const char sluice_demo_page[];
extern const char sluice_demo_page_end[];

void handle_demo(struct request *request) {
    if (!request->context->settings->demo) {
        reply_error(request, 404, "not_found", "There is nothing at this path.");
        return;
    }
    reply_header(request, "Content-Security-Policy",
                 "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
                 "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
                 "frame-ancestors 'none'");
    reply_header(request, "Referrer-Policy", "no-referrer");
    reply_static(request, 200, "text/html; charset=utf-8", sluice_demo_page,
                 /* cppcheck-suppress comparePointers ; the assembler puts the two around the page */
                 (size_t)(sluice_demo_page_end - sluice_demo_page));
}
