import com.google.gson.Gson;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.sse.EventSource;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;

/** Follows a stream with okhttp-sse, which leaves connecting again to its user, and prints each event as a line of JSON. */
public class OkHttpSseClient extends EventSourceListener {
    private static final PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    private static String lastId;
    private final CompletableFuture<Boolean> end = new CompletableFuture<>(); // whether it ended as it should

    @Override
    public void onEvent(EventSource source, String id, String type, String data) {
        if (id != null) lastId = id;
        Map<String, String> event = new LinkedHashMap<>();
        event.put("type", type == null ? "message" : type);
        event.put("data", data);
        event.put("id", id);
        out.println(new Gson().toJson(event));
    }

    @Override
    public void onClosed(EventSource source) {
        end.complete(true);
    }

    @Override
    public void onFailure(EventSource source, Throwable error, Response response) {
        end.complete(response != null && response.code() == 204);
    }

    public static void main(String[] arguments) throws Exception {
        OkHttpClient client = new OkHttpClient.Builder().readTimeout(Duration.ZERO).build();
        while (true) {
            Request.Builder request = new Request.Builder().url(arguments[0]);
            if (lastId != null) request.header("Last-Event-ID", lastId);
            OkHttpSseClient listener = new OkHttpSseClient();
            EventSources.createFactory(client).newEventSource(request.build(), listener);
            if (listener.end.get()) System.exit(0);
            Thread.sleep(20);
        }
    }
}
